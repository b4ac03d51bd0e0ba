/* SPDX-License-Identifier: GPL-2.0-only */
/* The VMM's own types. A VM and its vCPUs live in memory shared with the parent of --fork. */
#ifndef LABVMM_H
#define LABVMM_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "guest_layout.h"

#define ALL (-1L) /* the `*` of --ops */

enum lpt_mode { LPT_OFF, LPT_ON, LPT_TRY, LPT_IPA_ONLY, LPT_FREQ_ONLY };
enum stolen_mode { STOLEN_OFF, STOLEN_ON, STOLEN_TRY };

struct op {
	uint32_t kind;
	uint32_t id;
	uint64_t x1;
	uint64_t count;
};

/* One --ops: its operations go to every vCPU that it names. */
struct ops_rule {
	long vm;
	long vcpu;
	struct op *ops;
	size_t n_ops;
};

struct vm_spec {
	const char *name;
	unsigned int vcpus;
	enum lpt_mode lpt;
	uint32_t pv_freq;
	enum stolen_mode stolen;
};

struct options {
	struct vm_spec *vms;
	unsigned int n_vms;
	struct ops_rule *rules;
	size_t n_rules;
	uint64_t rounds; /* 0: forever */
	uint64_t spin;
	uint64_t pause_us;
	bool fork;
	bool start_barrier;
	bool hold;
	bool help;
};

struct vcpu {
	struct vm *vm;
	unsigned int index;
	int fd;
	struct kvm_run *run;
	pthread_t thread;
	pid_t tid;
	struct guest_vcpu *guest;
	bool off;		/* powered off at the end of its work */
	int run_errno;		/* of a failed KVM_RUN */
	uint32_t unknown_exit;	/* an exit reason that a guest of ours cannot cause */
	bool faulted;		/* the guest took an exception: */
	uint64_t esr, elr, far; /* what it was */
};

struct vm {
	const struct options *options;
	const struct vm_spec *spec;
	unsigned int index;
	pid_t pid;
	int fd;
	uint8_t *ram;
	size_t ram_size;
	struct guest_vm *guest;
	struct vcpu *vcpus;
	struct group *group;
	int lpt_errno;
	int stolen_errno;
	bool aborted;
};

/* The VMs that run in this process, and what their threads wait for. */
struct group {
	struct vm *vms;
	unsigned int n_vms;
	pthread_mutex_t lock;
	pthread_cond_t change;
	bool started;
	bool released;
	unsigned int running; /* vCPU threads still at work */
	unsigned int signals; /* signals taken so far */
	int idle_fd;	      /* readable once none is at work */
};

/* error.c: "labvmm: ..." to stderr; always -1 */
int error(const char *format, ...) __attribute__((format(printf, 1, 2)));
int vm_error(const struct vm *vm, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* options.c, ops.c, help.c */
int options_parse(struct options *options, int argc, char **argv);
int parse_u64(const char *text, uint64_t max, uint64_t *value);
void *append(void *array, size_t n, size_t size);
int ops_parse(struct ops_rule *rule, char *text);
bool op_is_write(uint32_t kind);
const char *op_register(uint32_t kind);
bool op_is_hvc(uint32_t kind);
extern const char help_text[];

/* ram.c: guest memory, made before any process or KVM object */
struct vm *vms_alloc(const struct options *options);
uint64_t ipa_of(const struct vm *vm, const void *pointer);

/* vm.c, paravirt.c: KVM objects */
int kvm_open(void);
int vm_create(struct vm *vm, int kvm_fd);
int lpt_setup(struct vm *vm);
int stolen_setup(struct vm *vm);

/* vcpu.c */
void vcpu_run(struct vcpu *vcpu);

/* group.c */
int group_prepare(struct group *group, struct vm *vms, unsigned int n_vms);
void group_start(struct group *group);
void group_signal(struct group *group);
void group_wait(struct group *group, int signals_fd);
void group_release(struct group *group);
void group_sleep(struct group *group, const struct timespec *deadline);
void vm_abort(struct vm *vm);

/* wait.c */
int signals_open(bool with_sigint);
bool signal_taken(int signals_fd);
bool fd_readable_first(int fd, int signals_fd);
bool pass_barrier(int signals_fd);
void wait_for_end(int signals_fd);

/* local.c, forked.c, main.c: the whole run, and its end from the last trap on, to an exit status */
int run_local(const struct options *options, struct vm *vms);
int run_forked(const struct options *options, struct vm *vms);
int conclude(const struct options *options, const struct vm *vms, int signals_fd);

/* truth.c */
uint64_t expected_count(const struct vcpu *vcpu, unsigned int slot);
unsigned int vcpu_slots(const struct vcpu *vcpu);
int truth_check(const struct vm *vms, unsigned int n_vms);

/* report.c, counts.c */
int report_print(FILE *out, const struct vm *vms, unsigned int n_vms);
void separate(FILE *out, bool *first);
void print_answer(FILE *out, const struct guest_op *op);
void print_hypercalls(FILE *out, const struct vcpu *vcpu, bool expected);
void print_timer(FILE *out, const struct vcpu *vcpu, bool expected);

#endif
