// SPDX-License-Identifier: GPL-2.0-only
/* The VMs and vCPU threads of one process, from creation to release. */
#include <errno.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "labvmm.h"

#define STACK_SIZE (256 * 1024)

static void name_thread(const struct vcpu *vcpu)
{
	char name[64];

	snprintf(name, sizeof(name), "vm%u/vcpu%u", vcpu->vm->index, vcpu->index);
	name[15] = '\0'; /* the kernel's limit */
	pthread_setname_np(pthread_self(), name);
}

static void wait_until(struct group *group, const bool *flag)
{
	pthread_mutex_lock(&group->lock);
	while (!*flag)
		pthread_cond_wait(&group->change, &group->lock);
	pthread_mutex_unlock(&group->lock);
}

static void leave(struct group *group)
{
	uint64_t one = 1;

	pthread_mutex_lock(&group->lock);
	if (--group->running == 0 && write(group->idle_fd, &one, sizeof(one)) < 0)
		error("cannot tell that all vcpus have ended: %s", strerror(errno));
	pthread_mutex_unlock(&group->lock);
}

static void *vcpu_thread(void *arg)
{
	struct vcpu *vcpu = arg;
	struct group *group = vcpu->vm->group;

	name_thread(vcpu);
	vcpu->tid = gettid();
	wait_until(group, &group->started);
	vcpu_run(vcpu);
	leave(group);
	wait_until(group, &group->released);
	return NULL;
}

static int create_threads(struct vm *vm)
{
	pthread_attr_t attr;
	int err = 0;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	for (unsigned int i = 0; !err && i < vm->spec->vcpus; i++) {
		struct vcpu *vcpu = &vm->vcpus[i];

		err = pthread_create(&vcpu->thread, &attr, vcpu_thread, vcpu);
	}
	pthread_attr_destroy(&attr);
	if (err)
		return vm_error(vm, "cannot create its vcpu threads: %s", strerror(err));
	return 0;
}

static int init_group(struct group *group, struct vm *vms, unsigned int n_vms)
{
	pthread_condattr_t attr;

	*group = (struct group){.vms = vms, .n_vms = n_vms};
	pthread_mutex_init(&group->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&group->change, &attr);
	pthread_condattr_destroy(&attr);
	group->idle_fd = eventfd(0, EFD_CLOEXEC);
	if (group->idle_fd < 0)
		return error("eventfd failed: %s", strerror(errno));
	return 0;
}

static int create_all(struct group *group, int kvm_fd)
{
	for (unsigned int i = 0; i < group->n_vms; i++) {
		group->vms[i].group = group;
		group->running += group->vms[i].spec->vcpus;
		if (vm_create(&group->vms[i], kvm_fd) < 0)
			return -1;
	}
	for (unsigned int i = 0; i < group->n_vms; i++)
		if (create_threads(&group->vms[i]) < 0)
			return -1;
	return 0;
}

static void interrupt(int signal)
{
	(void)signal; /* it is there to make KVM_RUN return */
}

/* Everything but running. On failure only the end of the process cleans up. */
int group_prepare(struct group *group, struct vm *vms, unsigned int n_vms)
{
	struct sigaction action = {.sa_handler = interrupt};
	int kvm_fd, ret;

	sigaction(SIGUSR1, &action, NULL);
	if (init_group(group, vms, n_vms) < 0)
		return -1;
	kvm_fd = kvm_open();
	if (kvm_fd < 0)
		return -1;
	ret = create_all(group, kvm_fd);
	close(kvm_fd);
	return ret;
}

static void raise_flag(struct group *group, bool *flag)
{
	pthread_mutex_lock(&group->lock);
	*flag = true;
	pthread_cond_broadcast(&group->change);
	pthread_mutex_unlock(&group->lock);
}

void group_start(struct group *group)
{
	raise_flag(group, &group->started);
}

void group_sleep(struct group *group, const struct timespec *deadline)
{
	pthread_cond_timedwait(&group->change, &group->lock, deadline);
}

/* The next round that no vCPU has passed: there all of them park. */
static void hurry_to_save(struct vm *vm)
{
	uint64_t passed = 0;

	for (unsigned int i = 0; i < vm->spec->vcpus; i++)
		if (vm->vcpus[i].passed > passed)
			passed = vm->vcpus[i].passed;
	vm->save_round = passed + 1;
	vm->hurried = true;
}

static void stop(struct group *group)
{
	pthread_mutex_lock(&group->lock);
	for (unsigned int i = 0; i < group->n_vms; i++) {
		if (group->vms[i].options->save)
			hurry_to_save(&group->vms[i]);
		else
			__atomic_store_n(&group->vms[i].guest->stop, 1, __ATOMIC_RELEASE);
	}
	pthread_cond_broadcast(&group->change);
	pthread_mutex_unlock(&group->lock);
}

/* immediate_exit first: a signal that finds its thread outside KVM_RUN would be lost otherwise. */
void vm_abort(struct vm *vm)
{
	pthread_mutex_lock(&vm->group->lock);
	vm->aborted = true;
	for (unsigned int i = 0; i < vm->spec->vcpus; i++) {
		__atomic_store_n(&vm->vcpus[i].run->immediate_exit, 1, __ATOMIC_RELEASE);
		pthread_kill(vm->vcpus[i].thread, SIGUSR1);
	}
	pthread_cond_broadcast(&vm->group->change);
	pthread_mutex_unlock(&vm->group->lock);
}

/* The first signal asks the guests to end (or park) after this round, the next does not wait for
 * them. */
void group_signal(struct group *group)
{
	if (group->signals++ == 0) {
		stop(group);
		return;
	}
	for (unsigned int i = 0; i < group->n_vms; i++)
		vm_abort(&group->vms[i]);
}

void group_wait(struct group *group, int signals_fd)
{
	while (!fd_readable_first(group->idle_fd, signals_fd))
		group_signal(group);
}

static void close_vm(struct vm *vm)
{
	for (unsigned int i = 0; i < vm->spec->vcpus; i++) {
		pthread_join(vm->vcpus[i].thread, NULL);
		munmap(vm->vcpus[i].run, vm->run_size); /* it holds on to the vCPU, and so the VM */
		close(vm->vcpus[i].fd);
	}
	close(vm->fd);
}

void group_release(struct group *group)
{
	raise_flag(group, &group->released);
	for (unsigned int i = 0; i < group->n_vms; i++)
		close_vm(&group->vms[i]);
	close(group->idle_fd);
}
