// SPDX-License-Identifier: GPL-2.0-only
/* What is in the guest's memory and in its boot vCPU's registers when it
 * starts. */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lablinux.h"

/* The beginning of an arm64 Image (Documentation/arm64/booting.rst). */
struct image_header {
	uint32_t code[2];
	uint64_t text_offset;
	uint64_t image_size; /* with the part that is in no file */
	uint64_t flags;
	uint64_t reserved[3];
	char magic[4];
	uint32_t reserved4;
};

#define REG_U64(name) \
	(KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | KVM_REG_ARM_CORE_REG(name))

extern const uint8_t linux_init[], linux_init_end[];

/* KVM takes stolen time at such addresses only. */
static size_t aligned(size_t size)
{
	return (size + 63) & ~63UL;
}

/* What labvmm keeps of a guest, behind all that Linux is told of. */
static void place(struct vm *vm)
{
	uint8_t *at = vm->ram + LINUX_RAM_SIZE;

	_Static_assert(sizeof(struct guest_vm) + LINUX_MAX_VCPUS * sizeof(struct guest_vcpu) <=
			       OWN_RAM_SIZE / 2,
		       "OWN_RAM_SIZE");
	vm->guest = (struct guest_vm *)at;
	at += aligned(sizeof(struct guest_vm));
	for (unsigned int i = 0; i < vm->spec->vcpus; i++) {
		vm->vcpus[i].vm = vm;
		vm->vcpus[i].index = i;
		vm->vcpus[i].guest = (struct guest_vcpu *)at;
		at += aligned(sizeof(struct guest_vcpu));
	}
}

static int make_vm(struct linux_guest *guest)
{
	static const struct options none;
	struct vm *vm = &guest->vm;

	vm->options = &none;
	vm->spec = &guest->options->spec;
	vm->vcpus = guest->vcpus;
	vm->ram_size = LINUX_RAM_SIZE + OWN_RAM_SIZE;
	vm->ram = mmap(NULL, vm->ram_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		       0);
	if (vm->ram == MAP_FAILED)
		return error("cannot get %zu bytes for the guest: %s", vm->ram_size,
			     strerror(errno));
	place(vm);
	return 0;
}

/* The bytes read, at most `room`; -1 after an error. */
static ssize_t read_all(int fd, uint8_t *to, size_t room)
{
	size_t size = 0;
	ssize_t n;

	while ((n = read(fd, to + size, room - size)) > 0)
		size += n;
	return n < 0 ? -1 : (ssize_t)size;
}

static int read_kernel(const char *path, uint8_t *to, size_t room)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t size;

	if (fd < 0)
		return error("cannot open the guest's kernel %s: %s", path, strerror(errno));
	size = read_all(fd, to, room);
	if (size < 0)
		error("cannot read the guest's kernel %s: %s", path, strerror(errno));
	close(fd);
	if (size < 0)
		return -1;
	if ((size_t)size < sizeof(struct image_header))
		return error("%s has %zd bytes only; it is no kernel", path, size);
	return 0;
}

static int load_kernel(struct linux_guest *guest)
{
	const char *path = guest->options->kernel;
	uint8_t *ram = guest->vm.ram;
	struct image_header header;

	if (read_kernel(path, ram, TREE_OFFSET) < 0)
		return -1;
	memcpy(&header, ram, sizeof(header));
	if (memcmp(header.magic, "ARM\x64", 4))
		return error("%s is not an uncompressed arm64 kernel (Image)", path);
	/* since Linux 5.8; it needs no moving about */
	if (header.text_offset)
		return error("%s is to be loaded at 0x%lx, which is not supported", path,
			     le64toh(header.text_offset));
	if (le64toh(header.image_size) > TREE_OFFSET)
		return error("%s takes %lu bytes of memory; there is room for %lu", path,
			     le64toh(header.image_size), TREE_OFFSET);
	return 0;
}

/* One member of a cpio archive of the "newc" kind; names and contents end at
 * multiples of 4. */
static size_t put_member(uint8_t *to, const char *name, uint32_t mode, const void *data,
			 size_t size)
{
	size_t name_size = strlen(name) + 1;
	size_t n =
		sprintf((char *)to, "070701%08x%08x%08x%08x%08x%08x%08zx%08x%08x%08x%08x%08zx%08x",
			0, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0);

	memcpy(to + n, name, name_size);
	n = (n + name_size + 3) & ~3UL;
	memcpy(to + n, data, size);
	return (n + size + 3) & ~3UL;
}

/* Its size. /dev/console is in the initramfs that every kernel has built in. */
static size_t put_initramfs(uint8_t *to)
{
	size_t n = put_member(to, "init", 0100755, linux_init, linux_init_end - linux_init);

	n += put_member(to + n, "proc", 0040755, "", 0);
	return n + put_member(to + n, "TRAILER!!!", 0, "", 0);
}

static int set_reg(struct vcpu *vcpu, uint64_t id, uint64_t value)
{
	struct kvm_one_reg reg = {.id = id, .addr = (uintptr_t)&value};

	if (ioctl(vcpu->fd, KVM_SET_ONE_REG, &reg) < 0)
		return vm_error(vcpu->vm, "vcpu %u: KVM_SET_ONE_REG 0x%lx failed: %s", vcpu->index,
				id, strerror(errno));
	return 0;
}

int linux_prepare(struct linux_guest *guest)
{
	if (make_vm(guest) < 0)
		return -1;
	return load_kernel(guest);
}

/* The program counter is where labvmm's guests begin, too. */
int linux_finish(struct linux_guest *guest)
{
	uint8_t *ram = guest->vm.ram;
	size_t initramfs_size = put_initramfs(ram + INITRAMFS_OFFSET);

	if (!linux_tree_write(guest, initramfs_size, ram + TREE_OFFSET,
			      INITRAMFS_OFFSET - TREE_OFFSET))
		return error("the guest's device tree is too large");
	return set_reg(&guest->vm.vcpus[0], REG_U64(regs.regs[0]), RAM_BASE + TREE_OFFSET);
}
