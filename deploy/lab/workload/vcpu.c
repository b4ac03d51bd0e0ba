// SPDX-License-Identifier: GPL-2.0-only
/* One vCPU's thread, from its first KVM_RUN to its last. */
#include <errno.h>
#include <linux/kvm.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#include "labvmm.h"

#define POLL_NS 5000000

static struct timespec after_ns(uint64_t ns)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	ns += t.tv_nsec;
	t.tv_sec += ns / 1000000000;
	t.tv_nsec = ns % 1000000000;
	return t;
}

static bool is_past(const struct timespec *deadline)
{
	struct timespec now = after_ns(0);

	return now.tv_sec > deadline->tv_sec ||
	       (now.tv_sec == deadline->tv_sec && now.tv_nsec >= deadline->tv_nsec);
}

/* The group's lock is held. */
static bool stopping(const struct vm *vm)
{
	return vm->aborted || __atomic_load_n(&vm->guest->stop, __ATOMIC_ACQUIRE);
}

static bool is_to_park(const struct vcpu *vcpu)
{
	return vcpu->vm->save_round && vcpu->passed >= vcpu->vm->save_round;
}

/* Whether it is to go on after it. */
static bool do_pause(struct vcpu *vcpu)
{
	struct vm *vm = vcpu->vm;
	struct timespec deadline = after_ns(vm->options->pause_us * 1000);
	bool park;

	pthread_mutex_lock(&vm->group->lock);
	vcpu->passed = vcpu->guest->rounds;
	park = is_to_park(vcpu);
	while (!park && !stopping(vm) && !vm->hurried && !is_past(&deadline))
		group_sleep(vm->group, &deadline);
	pthread_mutex_unlock(&vm->group->lock);
	return !park;
}

/* KVM finishes the store that it left for only when it is entered again. */
static bool park(struct vcpu *vcpu)
{
	__atomic_store_n(&vcpu->run->immediate_exit, 1, __ATOMIC_RELEASE);
	if (!ioctl(vcpu->fd, KVM_RUN, 0) || errno != EINTR)
		vcpu->run_errno = errno;
	else
		vcpu->parked = true;
	return false;
}

static bool is_finished(const struct vcpu *vcpu)
{
	return __atomic_load_n(&vcpu->guest->finished, __ATOMIC_ACQUIRE);
}

static bool is_powered_off(struct vcpu *vcpu)
{
	struct kvm_mp_state state;

	return !ioctl(vcpu->fd, KVM_GET_MP_STATE, &state) && state.mp_state == KVM_MP_STATE_STOPPED;
}

/*
 * SYSTEM_OFF stops a secondary where it is, even before the CPU_OFF it has already counted. So the
 * boot vCPU waits here until each is seen off; KVM tells that only while KVM_RUN is left.
 */
static void await_secondaries(struct vm *vm)
{
	pthread_mutex_lock(&vm->group->lock);
	for (unsigned int i = 1; i < vm->spec->vcpus; i++) {
		struct vcpu *vcpu = &vm->vcpus[i];

		while (!vm->aborted && !vcpu->off) {
			struct timespec deadline = after_ns(POLL_NS);

			if (is_finished(vcpu))
				pthread_kill(vcpu->thread, SIGUSR1);
			group_sleep(vm->group, &deadline);
		}
	}
	pthread_mutex_unlock(&vm->group->lock);
}

static bool fault(struct vcpu *vcpu, uint64_t far)
{
	vcpu->far = far;
	vcpu->faulted = true;
	return false;
}

static bool unknown(struct vcpu *vcpu)
{
	vcpu->unknown_exit = vcpu->run->exit_reason;
	return false;
}

static bool handle_mmio(struct vcpu *vcpu)
{
	uint64_t value;

	if (!vcpu->run->mmio.is_write || vcpu->run->mmio.len != sizeof(value))
		return unknown(vcpu);
	memcpy(&value, vcpu->run->mmio.data, sizeof(value));
	switch (vcpu->run->mmio.phys_addr - MMIO_BASE) {
	case MMIO_PAUSE:
		clock_leave(vcpu);
		return do_pause(vcpu) || park(vcpu);
	case MMIO_OFFLINE:
		await_secondaries(vcpu->vm);
		return true;
	case MMIO_ESR:
		vcpu->esr = value;
		return true;
	case MMIO_ELR:
		vcpu->elr = value;
		return true;
	case MMIO_FAR:
		return fault(vcpu, value);
	}
	return unknown(vcpu);
}

static bool handle_exit(struct vcpu *vcpu)
{
	switch (vcpu->run->exit_reason) {
	case KVM_EXIT_MMIO:
		return handle_mmio(vcpu);
	case KVM_EXIT_SYSTEM_EVENT:
		if (vcpu->run->system_event.type == KVM_SYSTEM_EVENT_SHUTDOWN)
			return false;
	}
	return unknown(vcpu);
}

static bool handle_interrupt(struct vcpu *vcpu)
{
	bool aborted;

	pthread_mutex_lock(&vcpu->vm->group->lock);
	aborted = vcpu->vm->aborted;
	if (is_finished(vcpu) && is_powered_off(vcpu)) {
		vcpu->off = true;
		pthread_cond_broadcast(&vcpu->vm->group->change);
	}
	pthread_mutex_unlock(&vcpu->vm->group->lock);
	return !aborted && !vcpu->off;
}

static bool step(struct vcpu *vcpu)
{
	clock_enter(vcpu);
	if (!ioctl(vcpu->fd, KVM_RUN, 0))
		return handle_exit(vcpu);
	if (errno == EINTR || errno == EAGAIN)
		return handle_interrupt(vcpu);
	vcpu->run_errno = errno;
	return false;
}

/* A vCPU that cannot go on takes its VM with it: the others may wait for it for ever. */
void vcpu_run(struct vcpu *vcpu)
{
	while (step(vcpu))
		;
	clock_end(vcpu);
	if (vcpu->run_errno || vcpu->unknown_exit || vcpu->faulted)
		vm_abort(vcpu->vm);
}
