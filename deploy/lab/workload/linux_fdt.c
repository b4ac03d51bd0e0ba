// SPDX-License-Identifier: GPL-2.0-only
#include <endian.h>
#include <string.h>

#include "linux_fdt.h"

#define MAGIC		0xd00dfeed
#define VERSION		17
#define LAST_COMPATIBLE 16

enum { BEGIN_NODE = 1, END_NODE, PROP, END = 9 };

struct header {
	uint32_t magic, total_size, off_struct, off_strings, off_reserve;
	uint32_t version, last_compatible, boot_cpu, size_strings, size_struct;
};

static void put(struct fdt *fdt, const void *data, size_t size)
{
	size_t padded = (size + 3) & ~3UL;

	if (fdt->n_nodes + padded > sizeof(fdt->nodes)) {
		fdt->full = 1;
		return;
	}
	memset(fdt->nodes + fdt->n_nodes, 0, padded);
	memcpy(fdt->nodes + fdt->n_nodes, data, size);
	fdt->n_nodes += padded;
}

static void put_cell(struct fdt *fdt, uint32_t value)
{
	value = htobe32(value);
	put(fdt, &value, sizeof(value));
}

/* The offset of a property's name among the names, each kept once. */
static uint32_t name_offset(struct fdt *fdt, const char *name)
{
	size_t offset = 0, size = strlen(name) + 1;

	while (offset < fdt->n_names && strcmp(fdt->names + offset, name))
		offset += strlen(fdt->names + offset) + 1;
	if (offset < fdt->n_names)
		return offset;
	if (offset + size > sizeof(fdt->names)) {
		fdt->full = 1;
		return 0;
	}
	memcpy(fdt->names + offset, name, size);
	fdt->n_names += size;
	return offset;
}

void fdt_begin(struct fdt *fdt, const char *name)
{
	put_cell(fdt, BEGIN_NODE);
	put(fdt, name, strlen(name) + 1);
}

void fdt_end(struct fdt *fdt)
{
	put_cell(fdt, END_NODE);
}

static void begin_prop(struct fdt *fdt, const char *name, size_t size)
{
	put_cell(fdt, PROP);
	put_cell(fdt, size);
	put_cell(fdt, name_offset(fdt, name));
}

void fdt_empty(struct fdt *fdt, const char *name)
{
	begin_prop(fdt, name, 0);
}

void fdt_string(struct fdt *fdt, const char *name, const char *value)
{
	size_t size = strlen(value) + 1;

	begin_prop(fdt, name, size);
	put(fdt, value, size);
}

void fdt_cells(struct fdt *fdt, const char *name, const uint32_t *cells, size_t n)
{
	begin_prop(fdt, name, n * sizeof(*cells));
	for (size_t i = 0; i < n; i++)
		put_cell(fdt, cells[i]);
}

static struct header header_of(const struct fdt *fdt)
{
	/* after the header: an empty memory reservation block, 16 zero bytes */
	uint32_t nodes = sizeof(struct header) + 16;
	uint32_t n_nodes = fdt->n_nodes + 4;

	return (struct header){
		.magic = htobe32(MAGIC),
		.total_size = htobe32(nodes + n_nodes + fdt->n_names),
		.off_struct = htobe32(nodes),
		.off_strings = htobe32(nodes + n_nodes),
		.off_reserve = htobe32(sizeof(struct header)),
		.version = htobe32(VERSION),
		.last_compatible = htobe32(LAST_COMPATIBLE),
		.size_strings = htobe32(fdt->n_names),
		.size_struct = htobe32(n_nodes),
	};
}

size_t fdt_write(const struct fdt *fdt, void *out, size_t room)
{
	struct header header = header_of(fdt);
	size_t size = be32toh(header.total_size);
	uint32_t end = htobe32(END);
	uint8_t *at = out;

	if (fdt->full || size > room)
		return 0;
	memset(at, 0, size);
	memcpy(at, &header, sizeof(header));
	at += be32toh(header.off_struct);
	memcpy(at, fdt->nodes, fdt->n_nodes);
	memcpy(at + fdt->n_nodes, &end, sizeof(end));
	memcpy(at + fdt->n_nodes + sizeof(end), fdt->names, fdt->n_names);
	return size;
}
