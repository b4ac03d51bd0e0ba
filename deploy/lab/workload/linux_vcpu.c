// SPDX-License-Identifier: GPL-2.0-only
/* One vCPU of a Linux guest, until /init has reported. */
#include <errno.h>
#include <linux/kvm.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "lablinux.h"

static struct linux_guest *guest_of(struct vcpu *vcpu)
{
	return (struct linux_guest *)((char *)vcpu->vm - offsetof(struct linux_guest, vm));
}

static struct exits *exits_of(struct vcpu *vcpu)
{
	return &guest_of(vcpu)->exits[vcpu->index];
}

static bool unknown(struct vcpu *vcpu)
{
	vcpu->unknown_exit = vcpu->run->exit_reason;
	return false;
}

void event_raise(int fd)
{
	uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) < 0)
		error("cannot write to an eventfd: %s", strerror(errno));
}

static void event_wait(int fd)
{
	uint64_t events;

	while (read(fd, &events, sizeof(events)) < 0 && errno == EINTR)
		;
}

/* The guest stands still in the middle of its instruction until it may begin.
 */
static bool wait_to_begin(struct linux_guest *guest)
{
	event_raise(guest->ready_fd);
	event_wait(guest->go_fd);
	return !guest->vm.aborted;
}

static bool handle_uart_write(struct vcpu *vcpu)
{
	struct linux_guest *guest = guest_of(vcpu);

	switch (uart_write(guest, vcpu->run->mmio.phys_addr, vcpu->run->mmio.data[0])) {
	case SAID_READY:
		return wait_to_begin(guest);
	case SAID_REPORT:
		return false;
	case SAID_NOTHING:
		break;
	}
	return true;
}

static bool handle_mmio(struct vcpu *vcpu)
{
	uint64_t address = vcpu->run->mmio.phys_addr;
	uint32_t value;

	exits_of(vcpu)->mmio++;
	if (!is_uart(address) || vcpu->run->mmio.len > sizeof(value)) {
		guest_of(vcpu)->stray = address;
		return unknown(vcpu);
	}
	if (vcpu->run->mmio.is_write)
		return handle_uart_write(vcpu);
	value = uart_read(address);
	memcpy(vcpu->run->mmio.data, &value, vcpu->run->mmio.len);
	return true;
}

static bool handle_exit(struct vcpu *vcpu)
{
	switch (vcpu->run->exit_reason) {
	case KVM_EXIT_MMIO:
		return handle_mmio(vcpu);
	case KVM_EXIT_SYSTEM_EVENT:
		exits_of(vcpu)->system_event++;
		return false;
	}
	return unknown(vcpu);
}

static bool is_aborted(struct vm *vm)
{
	bool aborted;

	pthread_mutex_lock(&vm->group->lock);
	aborted = vm->aborted;
	pthread_mutex_unlock(&vm->group->lock);
	return aborted;
}

static bool step(struct vcpu *vcpu)
{
	if (!ioctl(vcpu->fd, KVM_RUN, 0))
		return handle_exit(vcpu);
	if (errno == EINTR || errno == EAGAIN) {
		exits_of(vcpu)->interrupted++;
		return !is_aborted(vcpu->vm);
	}
	vcpu->run_errno = errno;
	return false;
}

/* The first to end, by the report, a failure or power off, takes the others
 * with it. */
void vcpu_run(struct vcpu *vcpu)
{
	while (step(vcpu))
		;
	if (!is_aborted(vcpu->vm))
		vm_abort(vcpu->vm);
	event_raise(guest_of(vcpu)->ready_fd);
}
