/* SPDX-License-Identifier: GPL-2.0-only */
/* Writing a flattened device tree (Devicetree Specification, chapter 5),
 * version 17. */
#ifndef LINUX_FDT_H
#define LINUX_FDT_H

#include <stddef.h>
#include <stdint.h>

/* What does not fit is left out, and fdt_write() says so. */
struct fdt {
	uint8_t nodes[8192];
	size_t n_nodes;
	char names[1024];
	size_t n_names;
	int full;
};

void fdt_begin(struct fdt *fdt, const char *name);
void fdt_end(struct fdt *fdt);
void fdt_string(struct fdt *fdt, const char *name, const char *value);
void fdt_empty(struct fdt *fdt, const char *name);
void fdt_cells(struct fdt *fdt, const char *name, const uint32_t *cells, size_t n);

/* Numbers of 32 bits, at least one. */
#define FDT_CELLS(fdt, name, ...)                             \
	fdt_cells(fdt, name, (const uint32_t[]){__VA_ARGS__}, \
		  sizeof((const uint32_t[]){__VA_ARGS__}) / 4)

/* A 64-bit number as two cells. */
#define FDT_U64(value) (uint32_t)((uint64_t)(value) >> 32), (uint32_t)(value)

/* The size of the tree, now at `out` of `room` bytes; 0 if it does not fit. */
size_t fdt_write(const struct fdt *fdt, void *out, size_t room);

#endif
