/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The file of a saved VM: the header, its RAM, then each vCPU. It is read by the build of labvmm
 * that wrote it, so there is no other format than these structures.
 */
#ifndef STATE_H
#define STATE_H

#include "labvmm.h"

#define MAX_REGISTERS 1024

struct saved_register {
	uint64_t id;
	uint8_t value[16];
};

struct saved_vcpu {
	uint32_t mp_state;
	uint32_t n_registers;
	uint32_t n_hosts;
	struct clock_host hosts[MAX_HOSTS];
	struct saved_register registers[MAX_REGISTERS];
};

struct state_header {
	char magic[8];
	uint64_t build; /* of the guest's image and of these structures */
	char name[64];
	uint32_t vcpus;
	uint32_t lpt;
	uint32_t pv_freq;
	uint32_t stolen;
	uint64_t ram_size;
	uint64_t count;	     /* the virtual counter, when the VM had stopped */
	uint64_t count_freq; /* what it counted at, in Hz */
};

struct state {
	struct state_header header;
	uint8_t *ram;
	struct saved_vcpu *vcpus;
};

#endif
