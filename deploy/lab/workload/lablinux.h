/* SPDX-License-Identifier: GPL-2.0-only */
/* A VMM for one Linux guest; its KVM objects, threads and errors are labvmm's.
 */
#ifndef LABLINUX_H
#define LABLINUX_H

#include "labvmm.h"

#define LINUX_MAX_VCPUS 4

#define UART_BASE	0x09000000
#define UART_SIZE	0x1000

/* Guest memory: Linux has the first part, and what labvmm keeps of a guest
 * follows it. */
#define LINUX_RAM_SIZE	 (128UL << 20)
#define OWN_RAM_SIZE	 (64UL << 10)
#define TREE_OFFSET	 (62UL << 20)
#define INITRAMFS_OFFSET (64UL << 20)

struct linux_options {
	struct vm_spec spec;
	const char *kernel;
	bool physical_timer;
	uint64_t sleeps;
	uint64_t sleep_us;
	bool busy;
	bool everywhere;
	bool start_barrier;
	bool hold;
	bool verbose;
	bool help;
};

/* Returns from KVM_RUN, as the VMM has seen them. */
struct exits {
	uint64_t mmio;
	uint64_t interrupted;
	uint64_t system_event;
};

struct linux_guest {
	const struct linux_options *options;
	struct vm vm;
	struct vcpu vcpus[LINUX_MAX_VCPUS];
	struct exits exits[LINUX_MAX_VCPUS];
	uint64_t stray;	 /* guest physical address of an access that nothing answers */
	int ready_fd;	 /* readable once the guest is ready to begin, or has ended */
	int go_fd;	 /* readable once it may begin */
	char line[1024]; /* of its console, so far */
	size_t line_size;
	char report[1024]; /* the JSON object of its /init; "" before that has come */
	FILE *console;	   /* gets all other lines */
};

/* linux_options.c, linux_help.c */
int linux_options_parse(struct linux_options *options, int argc, char **argv);
extern const char linux_help_text[];

/* linux_memory.c: the first before the KVM objects exist, the second before a
 * vCPU runs */
int linux_prepare(struct linux_guest *guest);
int linux_finish(struct linux_guest *guest);

/* linux_tree.c: its size; 0 if `room` is too small */
size_t linux_tree_write(const struct linux_guest *guest, size_t initramfs_size, void *out,
			size_t room);

/* linux_console.c */
enum said { SAID_NOTHING, SAID_READY, SAID_REPORT };

bool is_uart(uint64_t address);
uint32_t uart_read(uint64_t address);
enum said uart_write(struct linux_guest *guest, uint64_t address, uint8_t byte);

/* linux_vcpu.c */
void event_raise(int fd);

/* linux_report.c */
int linux_report_print(FILE *out, const struct linux_guest *guest, double seconds);

#endif
