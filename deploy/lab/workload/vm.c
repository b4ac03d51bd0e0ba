// SPDX-License-Identifier: GPL-2.0-only
/* The KVM objects of a VM: memory slot, interrupt controller, vCPUs. */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "labvmm.h"

#define DEFAULT_IPA_BITS 40
#define NR_IRQS		 64 /* the fewest that KVM takes; a guest of ours has none but its own */

#define REG_U64(name) \
	(KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | KVM_REG_ARM_CORE_REG(name))
#define REG_MPIDR ARM64_SYS_REG(3, 0, 0, 0, 5)

int kvm_open(void)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return error("cannot open /dev/kvm: %s; this needs an arm64 KVM host and the right "
			     "to use it",
			     strerror(errno));
	if (ioctl(fd, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
		return error("/dev/kvm speaks another API version than %d", KVM_API_VERSION);
	return fd;
}

/* Hosts with less than KVM's usual 40 bits refuse type 0. */
static unsigned long vm_type(int kvm_fd)
{
	int bits = ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_ARM_VM_IPA_SIZE);

	return bits > 0 && bits < DEFAULT_IPA_BITS ? KVM_VM_TYPE_ARM_IPA_SIZE(bits) : 0;
}

static int create_fd(struct vm *vm, int kvm_fd)
{
	vm->fd = ioctl(kvm_fd, KVM_CREATE_VM, vm_type(kvm_fd));
	if (vm->fd < 0)
		return vm_error(vm, "KVM_CREATE_VM failed: %s", strerror(errno));
	return 0;
}

static int set_memory(struct vm *vm)
{
	struct kvm_userspace_memory_region region = {
		.guest_phys_addr = RAM_BASE,
		.memory_size = vm->ram_size,
		.userspace_addr = (uintptr_t)vm->ram,
	};

	if (ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &region) < 0)
		return vm_error(vm, "KVM_SET_USER_MEMORY_REGION of %zu bytes failed: %s",
				vm->ram_size, strerror(errno));
	return 0;
}

static int set_reg(struct vcpu *vcpu, uint64_t id, uint64_t value)
{
	struct kvm_one_reg reg = {.id = id, .addr = (uintptr_t)&value};

	if (ioctl(vcpu->fd, KVM_SET_ONE_REG, &reg) < 0)
		return vm_error(vcpu->vm, "vcpu %u: KVM_SET_ONE_REG 0x%lx failed: %s", vcpu->index,
				id, strerror(errno));
	return 0;
}

static int get_mpidr(struct vcpu *vcpu)
{
	/* affinity fields only: that is what CPU_ON takes */
	const uint64_t affinity = 0xff00ffffff;
	uint64_t value = 0;
	struct kvm_one_reg reg = {.id = REG_MPIDR, .addr = (uintptr_t)&value};

	if (ioctl(vcpu->fd, KVM_GET_ONE_REG, &reg) < 0)
		return vm_error(vcpu->vm, "vcpu %u: cannot read MPIDR_EL1: %s", vcpu->index,
				strerror(errno));
	vcpu->guest->mpidr = value & affinity;
	return 0;
}

static int init_vcpu(struct vcpu *vcpu)
{
	struct kvm_vcpu_init init = {0};

	if (ioctl(vcpu->vm->fd, KVM_ARM_PREFERRED_TARGET, &init) < 0)
		return vm_error(vcpu->vm, "KVM_ARM_PREFERRED_TARGET failed: %s", strerror(errno));
	init.features[0] = 1 << KVM_ARM_VCPU_PSCI_0_2;
	if (vcpu->index)
		init.features[0] |= 1 << KVM_ARM_VCPU_POWER_OFF;
	if (ioctl(vcpu->fd, KVM_ARM_VCPU_INIT, &init) < 0)
		return vm_error(vcpu->vm, "vcpu %u: KVM_ARM_VCPU_INIT failed: %s", vcpu->index,
				strerror(errno));
	if (get_mpidr(vcpu) < 0 || set_reg(vcpu, REG_U64(regs.pc), RAM_BASE) < 0)
		return -1;
	return set_reg(vcpu, REG_U64(regs.regs[0]), ipa_of(vcpu->vm, vcpu->guest));
}

static int create_vcpu(struct vcpu *vcpu)
{
	vcpu->fd = ioctl(vcpu->vm->fd, KVM_CREATE_VCPU, (unsigned long)vcpu->index);
	if (vcpu->fd < 0)
		return vm_error(vcpu->vm, "vcpu %u: KVM_CREATE_VCPU failed: %s", vcpu->index,
				strerror(errno));
	vcpu->run = mmap(NULL, vcpu->vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (vcpu->run == MAP_FAILED)
		return vm_error(vcpu->vm, "vcpu %u: cannot map kvm_run: %s", vcpu->index,
				strerror(errno));
	return init_vcpu(vcpu);
}

static int create_vcpus(struct vm *vm, int kvm_fd)
{
	int run_size = ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);

	if (run_size < 0)
		return vm_error(vm, "KVM_GET_VCPU_MMAP_SIZE failed: %s", strerror(errno));
	vm->run_size = run_size;
	for (unsigned int i = 0; i < vm->spec->vcpus; i++)
		if (create_vcpu(&vm->vcpus[i]) < 0)
			return -1;
	return 0;
}

static int gic_attr(struct vm *vm, int gic, uint32_t group, uint64_t attr, void *value)
{
	struct kvm_device_attr set = {.group = group, .attr = attr, .addr = (uintptr_t)value};

	if (ioctl(gic, KVM_SET_DEVICE_ATTR, &set) < 0)
		return vm_error(vm, "GICv3: setting attribute %lu of group %u failed: %s", attr,
				group, strerror(errno));
	return 0;
}

static int setup_gic(struct vm *vm, int gic)
{
	uint64_t dist = GIC_DIST_BASE, redist = GIC_REDIST_BASE;
	uint32_t irqs = NR_IRQS;

	if (gic_attr(vm, gic, KVM_DEV_ARM_VGIC_GRP_NR_IRQS, 0, &irqs) < 0 ||
	    gic_attr(vm, gic, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V3_ADDR_TYPE_DIST, &dist) < 0 ||
	    gic_attr(vm, gic, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V3_ADDR_TYPE_REDIST, &redist) < 0)
		return -1;
	return gic_attr(vm, gic, KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_CTRL_INIT, NULL);
}

static int create_gic(struct vm *vm)
{
	struct kvm_create_device device = {.type = KVM_DEV_TYPE_ARM_VGIC_V3};
	int ret;

	if (ioctl(vm->fd, KVM_CREATE_DEVICE, &device) < 0)
		return vm_error(vm, "no GICv3 from this host: %s", strerror(errno));
	ret = setup_gic(vm, device.fd);
	close(device.fd); /* the VM keeps the device; hundreds of VMs need the descriptors */
	return ret;
}

int vm_create(struct vm *vm, int kvm_fd)
{
	vm->pid = getpid();
	if (create_fd(vm, kvm_fd) < 0 || set_memory(vm) < 0 || create_vcpus(vm, kvm_fd) < 0 ||
	    create_gic(vm) < 0 || lpt_setup(vm) < 0 || stolen_setup(vm) < 0)
		return -1;
	for (unsigned int i = 0; i < vm->spec->vcpus; i++)
		clock_begin(&vm->vcpus[i]);
	return vm->state ? state_restore(vm) : 0;
}
