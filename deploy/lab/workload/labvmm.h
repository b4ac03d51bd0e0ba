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

struct saved_vcpu;
struct state;

#define ALL	   (-1L) /* the `*` of --ops */
#define MAX_HOSTS  16	 /* that a VM can be on, one after the other */
#define MAX_PAUSES 256

enum lpt_mode { LPT_OFF, LPT_ON, LPT_TRY, LPT_IPA_ONLY, LPT_FREQ_ONLY, LPT_TWICE };
enum stolen_mode { STOLEN_OFF, STOLEN_ON, STOLEN_TRY };

struct op {
	uint32_t kind;
	uint32_t id;
	uint64_t x1;
	uint64_t stride;
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
	uint64_t churn; /* not 0: VMs to make, n_vms at a time */
	const char *save;
	uint64_t save_after;
	const char *restore;
	uint64_t skip_us;
	uint64_t deadline_us;
	bool time_ops;
	bool fork;
	bool start_barrier;
	bool hold;
	bool help;
};

/* One pause of a vCPU: the host's moments are inside the guest's. */
struct clock_pause {
	struct guest_counters before;
	int64_t exit_ns; /* 0: the pause began on another host */
	int64_t entry_ns;
	struct guest_counters after; /* native 0: the guest has not read it */
	bool unentered;
};

/* A vCPU's clock on one of the hosts it was on. */
struct clock_host {
	struct lpt_structure structure; /* as the guest read it */
	struct guest_counters first;
	struct guest_counters last;
	uint64_t deadline;  /* of its virtual timer; 0: not armed */
	double interval_ns; /* what the rate was measured over; 0: it was not */
	double ppm;
	double bound_ppm;
	bool jumped; /* it came from another host, and by then its PV clock went on by: */
	double jump_ns, jump_least_ns, jump_most_ns;
	double skip_ns;
	double stopped_least_ns, stopped_most_ns; /* from `last` to the count's saving */
};

struct clock_watch {
	struct clock_host hosts[MAX_HOSTS]; /* the last one is this one */
	unsigned int n_hosts;
	struct clock_pause pause, previous;
	struct clock_pause pauses[MAX_PAUSES]; /* the complete ones of this host */
	unsigned int n_pauses;
};

/* The virtual count that a restored VM starts from. */
struct restored_count {
	int64_t set_before_ns, set_after_ns;
	double skip_ns; /* added to it */
};

struct vcpu {
	struct vm *vm;
	unsigned int index;
	int fd;
	struct kvm_run *run;
	pthread_t thread;
	pid_t tid;
	struct guest_vcpu *guest;
	struct guest_timing *timings; /* NULL without --time-ops */
	struct clock_watch clock;
	uint64_t rounds_before; /* on other hosts */
	uint64_t passed;	/* rounds at its last pause */
	bool parked;		/* stopped in a pause, to be saved */
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
	size_t run_size;
	struct guest_vm *guest;
	struct vcpu *vcpus;
	struct group *group;
	const struct state *state; /* to be restored; NULL: it begins here */
	struct restored_count restored;
	uint64_t save_round; /* its vCPUs park after this round; 0: none */
	bool hurried;	     /* no pause is to be waited for */
	uint32_t lpt_group;
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

/* options.c, vm_option.c, ops.c, help.c */
int options_parse(struct options *options, int argc, char **argv);
int parse_u64(const char *text, uint64_t max, uint64_t *value);
int parse_bounded(const char *what, const char *value, uint64_t min, uint64_t max,
		  uint64_t *number);
void *append(void *array, size_t n, size_t size);
int vm_option_parse(struct options *options, char *text);
int ops_parse(struct ops_rule *rule, char *text);
bool op_is_write(uint32_t kind);
bool op_is_register(uint32_t kind);
bool op_is_tick(uint32_t kind);
const char *op_timer(uint32_t kind);
const char *op_register(uint32_t kind);
const char *op_label(const struct guest_op *op, char *text, size_t size);
extern const char help_text[];

/* ram.c: guest memory, made before any process or KVM object */
struct vm *vms_alloc(const struct options *options, const struct state *state);
void vm_refill(struct vm *vm);
uint64_t ipa_of(const struct vm *vm, const void *pointer);
uint64_t counter_frequency(void);

/* vm.c, paravirt.c, registers.c: KVM objects */
int kvm_open(void);
int vm_create(struct vm *vm, int kvm_fd);
int lpt_setup(struct vm *vm);
int stolen_setup(struct vm *vm);
int registers_save(struct vcpu *vcpu, struct saved_vcpu *saved);
int registers_restore(struct vcpu *vcpu, const struct saved_vcpu *saved);
int count_get(struct vm *vm, uint64_t *count);
int count_set(struct vm *vm, uint64_t count);

/* state.c: a VM in a file */
struct state *state_load(const char *path);
void state_spec(const struct state *state, struct vm_spec *spec);
size_t state_ram_size(const struct state *state);
const void *state_ram(const struct state *state);
void state_clock(const struct vcpu *vcpu, struct clock_watch *clock);
int state_restore(struct vm *vm);
int state_save(struct vm *vm, const char *path);

/* vcpu.c */
void vcpu_run(struct vcpu *vcpu);

/* clock.c: a vCPU's PV clock, watched at its pauses */
int64_t raw_ns(void);
void clock_begin(struct vcpu *vcpu);
void clock_enter(struct vcpu *vcpu);
void clock_leave(struct vcpu *vcpu);
void clock_end(struct vcpu *vcpu);
void clock_saved(struct vcpu *vcpu, int64_t before_ns, int64_t after_ns);
int clock_check(const struct vcpu *vcpu);
void clock_print(FILE *out, const struct vcpu *vcpu);

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

/*
 * local.c, forked.c, churn.c: VMs from creation to release, to an exit status. At the end of their
 * work, and while they still stand, `conclude` is called.
 */
struct run {
	const struct options *options;
	struct vm *vms;
	unsigned int n_vms;
	int signals_fd;
	int (*conclude)(struct run *run);
	void *context; /* of conclude */
};
int run_local(struct run *run);
int run_forked(struct run *run);
int run_churn(struct run *run);

/* truth.c */
uint64_t expected_count(const struct vcpu *vcpu, unsigned int slot);
unsigned int vcpu_slots(const struct vcpu *vcpu);
int truth_check(const struct vm *vms, unsigned int n_vms);

/* counts.c: operations that are the same thing added up */
struct totals {
	struct total *list;
	size_t n;
};
void totals_add_vcpu(struct totals *totals, const struct vcpu *vcpu);
void totals_print(FILE *out, const struct totals *totals);
void totals_free(struct totals *totals);

/* report.c, timing.c: JSON */
int report_print(FILE *out, const struct vm *vms, unsigned int n_vms);
void print_structure(FILE *out, const struct lpt_structure *lpt);
void separate(FILE *out, bool *first);
void timings_print(FILE *out, const struct vcpu *vcpu);

#endif
