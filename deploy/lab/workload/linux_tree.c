// SPDX-License-Identifier: GPL-2.0-only
/* The device tree: what Linux is told of its machine. */
#include "lablinux.h"
#include "linux_fdt.h"

#define GIC_PHANDLE 1
#define GIC_SPI	    0
#define GIC_PPI	    1
#define LEVEL_HIGH  4

#define UART_SPI    1

/* KVM's timers interrupt by 27 and 30; private interrupts begin at 16. */
#define PPI_VIRTUAL	11
#define PPI_PHYSICAL	14

#define GIC_DIST_SIZE	0x10000
#define GIC_REDIST_SIZE 0x20000 /* of one vCPU */

static void put_memory(struct fdt *fdt)
{
	fdt_begin(fdt, "memory");
	fdt_string(fdt, "device_type", "memory");
	FDT_CELLS(fdt, "reg", FDT_U64(RAM_BASE), FDT_U64(LINUX_RAM_SIZE));
	fdt_end(fdt);
}

/* The vCPU may stand still at the start barrier for longer than RCU thinks
 * right. Where all vCPUs are alike, their ticks are not to come at once: each
 * would wait for those before it. */
static void put_bootargs(struct fdt *fdt, const struct linux_options *options)
{
	char text[256];

	snprintf(text, sizeof(text),
		 "console=ttyAMA0 panic=-1 rcupdate.rcu_cpu_stall_suppress=1%s%s -- "
		 "%lu %lu %s %u",
		 options->verbose ? "" : " quiet", options->everywhere ? " skew_tick=1" : "",
		 options->sleeps, options->sleep_us, options->busy ? "busy" : "idle",
		 options->everywhere ? options->spec.vcpus : 1);
	fdt_string(fdt, "bootargs", text);
}

static void put_chosen(struct fdt *fdt, const struct linux_options *options, size_t initramfs_size)
{
	uint64_t start = RAM_BASE + INITRAMFS_OFFSET;

	fdt_begin(fdt, "chosen");
	put_bootargs(fdt, options);
	FDT_CELLS(fdt, "linux,initrd-start", FDT_U64(start));
	FDT_CELLS(fdt, "linux,initrd-end", FDT_U64(start + initramfs_size));
	fdt_end(fdt);
}

static void put_cpu(struct fdt *fdt, const struct vcpu *vcpu)
{
	char name[32];

	snprintf(name, sizeof(name), "cpu@%lx", vcpu->guest->mpidr);
	fdt_begin(fdt, name);
	fdt_string(fdt, "device_type", "cpu");
	fdt_string(fdt, "compatible", "arm,armv8");
	fdt_string(fdt, "enable-method", "psci");
	FDT_CELLS(fdt, "reg", FDT_U64(vcpu->guest->mpidr));
	fdt_end(fdt);
}

static void put_cpus(struct fdt *fdt, const struct vm *vm)
{
	fdt_begin(fdt, "cpus");
	FDT_CELLS(fdt, "#address-cells", 2);
	FDT_CELLS(fdt, "#size-cells", 0);
	for (unsigned int i = 0; i < vm->spec->vcpus; i++)
		put_cpu(fdt, &vm->vcpus[i]);
	fdt_end(fdt);
	fdt_begin(fdt, "psci");
	fdt_string(fdt, "compatible", "arm,psci-1.0");
	fdt_string(fdt, "method", "hvc");
	fdt_end(fdt);
}

static void put_gic(struct fdt *fdt, unsigned int vcpus)
{
	fdt_begin(fdt, "interrupt-controller");
	fdt_string(fdt, "compatible", "arm,gic-v3");
	FDT_CELLS(fdt, "reg", FDT_U64(GIC_DIST_BASE), FDT_U64(GIC_DIST_SIZE),
		  FDT_U64(GIC_REDIST_BASE), FDT_U64(GIC_REDIST_SIZE * vcpus));
	FDT_CELLS(fdt, "#interrupt-cells", 3);
	fdt_empty(fdt, "interrupt-controller");
	FDT_CELLS(fdt, "phandle", GIC_PHANDLE);
	fdt_end(fdt);
}

/* Linux takes the virtual timer if it is told of one, else the physical one. */
static void put_timer(struct fdt *fdt, bool physical)
{
	fdt_begin(fdt, "timer");
	fdt_string(fdt, "compatible", "arm,armv8-timer");
	fdt_string(fdt, "interrupt-names", physical ? "phys" : "virt");
	FDT_CELLS(fdt, "interrupts", GIC_PPI, physical ? PPI_PHYSICAL : PPI_VIRTUAL, LEVEL_HIGH);
	fdt_empty(fdt, "always-on");
	fdt_end(fdt);
}

/* The kind without clocks and identification registers. */
static void put_uart(struct fdt *fdt)
{
	fdt_begin(fdt, "serial");
	fdt_string(fdt, "compatible", "arm,sbsa-uart");
	FDT_CELLS(fdt, "reg", FDT_U64(UART_BASE), FDT_U64(UART_SIZE));
	FDT_CELLS(fdt, "interrupts", GIC_SPI, UART_SPI, LEVEL_HIGH);
	FDT_CELLS(fdt, "current-speed", 115200);
	fdt_end(fdt);
}

size_t linux_tree_write(const struct linux_guest *guest, size_t initramfs_size, void *out,
			size_t room)
{
	struct fdt fdt = {0};

	fdt_begin(&fdt, "");
	fdt_string(&fdt, "compatible", "linux,dummy-virt");
	FDT_CELLS(&fdt, "#address-cells", 2);
	FDT_CELLS(&fdt, "#size-cells", 2);
	FDT_CELLS(&fdt, "interrupt-parent", GIC_PHANDLE);
	put_chosen(&fdt, guest->options, initramfs_size);
	put_memory(&fdt);
	put_cpus(&fdt, &guest->vm);
	put_gic(&fdt, guest->vm.spec->vcpus);
	put_timer(&fdt, guest->options->physical_timer);
	put_uart(&fdt);
	fdt_end(&fdt);
	return fdt_write(&fdt, out, room);
}
