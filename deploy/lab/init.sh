#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Init of the lab's machine. The root disk is read-only and shared, so everything runs on a tmpfs
# laid over it, with this run's payload (a raw tar on a disk of its own) extracted into it.
#
# The payload brings /run.lab: argv (COMMAND, NUL-separated), mark (ends each output stream) and,
# if COMMAND is to have a terminal, terminal (lines: TERM, COLORTERM, rows, columns); if systemd is to
# be the machine's first process while COMMAND runs, systemd.
# Virtio ports: lab.stdout and lab.stderr carry COMMAND's output, or lab.terminal its terminal's
# both ways; each ends with the mark. lab.control carries "running" and "status N" out, and
# "size ROWS COLUMNS" in.

export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin HOME=/root LANG=C.UTF-8
LAB=/run.lab

# Ends the machine: the kernel panics when its init exits, and the caller shows the console's end.
give_up() {
	echo "lab: $1" >/dev/kmsg
	exit 1
}

enter_overlay() {
	mount -t proc proc /proc
	mount -t devtmpfs dev /dev
	exec </dev/console >/dev/console 2>&1
	mount -t tmpfs overlay /overlay
	mkdir /overlay/upper /overlay/work /overlay/root
	mount -t overlay -o lowerdir=/,upperdir=/overlay/upper,workdir=/overlay/work root /overlay/root
	tar -xf /dev/vdb -C /overlay/root || give_up "the payload cannot be extracted"
	mount -n --move /dev /overlay/root/dev
	mount -n --move /proc /overlay/root/proc
	cd /overlay/root && pivot_root . overlay && exec chroot . /sbin/init entered
	give_up "the overlay cannot be entered"
}

mount_all() {
	umount -l /overlay
	mkdir /dev/pts /dev/shm
	cat >/etc/fstab <<-'EOF'
		sys /sys sysfs defaults
		run /run tmpfs defaults
		pts /dev/pts devpts mode=620,gid=5,ptmxmode=666
		shm /dev/shm tmpfs defaults
		cgroup /sys/fs/cgroup cgroup2 defaults
		bpf /sys/fs/bpf bpf defaults
		debug /sys/kernel/debug debugfs defaults
		trace /sys/kernel/tracing tracefs defaults
		security /sys/kernel/security securityfs defaults
	EOF
	mount --all
	ln -s /proc/self/fd /dev/fd
	ln -s fd/0 /dev/stdin
	ln -s fd/1 /dev/stdout
	ln -s fd/2 /dev/stderr
	echo lab >/proc/sys/kernel/hostname
	ip link set lo up
}

# Sets PORT to the device of the virtio port named $1.
find_port() {
	local file name
	for file in /sys/class/virtio-ports/*/name; do
		read -r name <"$file"
		PORT=${file%/name}
		PORT=/dev/${PORT##*/}
		[ "$name" = "$1" ] && return
	done
	give_up "no virtio port is named $1"
}

# Copies the pipe $1 to the port named $2 until every writer has gone, then ends the stream.
# A pipe, because a port can be open once only and COMMAND may open its /dev/stdout again.
forward() {
	find_port "$2"
	cat "$1" $LAB/mark >"$PORT" 3>&- &
}

# Runs COMMAND with pipes for its outputs. Status 128 + N if signal N ended it.
run_piped() {
	mkfifo /run/lab.stdout /run/lab.stderr
	forward /run/lab.stdout lab.stdout
	local copiers=$!
	forward /run/lab.stderr lab.stderr
	copiers+=" $!"
	(cd /root && exec setsid "${COMMAND[@]}" 3>&- </dev/null >/run/lab.stdout 2>/run/lab.stderr)
	local status=$?
	# Of systemd's own services none holds COMMAND's outputs.
	[ -e $LAB/systemd ] || end_all_but "1 $copiers"
	# shellcheck disable=SC2086 # a list of process ids
	wait $copiers
	return $status
}

# What COMMAND left running would hold its outputs open. Kernel threads have no exe.
end_all_but() {
	local directory found=1
	while [ $found ]; do
		found=
		for directory in /proc/[0-9]*; do
			[ -e "$directory/exe" ] || continue
			case " $1 " in *" ${directory#/proc/} "*) continue ;; esac
			kill -KILL "${directory#/proc/}" 2>/dev/null && found=1
		done
	done
}

# Runs COMMAND on a terminal of its own, relayed to a port. Not on a virtio console: QEMU drops
# what is written to one while the caller is slow to read.
run_on_terminal() {
	find_port lab.terminal
	follow_size &
	script --quiet --flush --return --command "exec /sbin/init on_terminal" /dev/null \
		<>"$PORT" >&0 2>&1 3>&-
	local status=$?
	cat $LAB/mark >"$PORT"
	return $status
}

# Becomes COMMAND, with the caller's kind and size of terminal.
start_on_terminal() {
	local rows columns
	{
		read -r TERM
		read -r COLORTERM
		read -r rows
		read -r columns
	} <$LAB/terminal
	tput -T "$TERM" longname >/dev/null 2>&1 || TERM=xterm-256color
	export TERM COLORTERM
	tty >/run/lab.tty
	stty sane iutf8 rows "$rows" columns "$columns"
	cd /root && exec "${COMMAND[@]}"
}

follow_size() {
	local what rows columns
	while read -r what rows columns <&3; do
		[ "$what" = size ] && stty -F "$(</run/lab.tty)" rows "$rows" columns "$columns"
	done
}

# systemd takes this process over; another goes on, once the machine is up.
hand_over() {
	echo 0123456789abcdef0123456789abcdef >/etc/machine-id
	# At boot /tmp would be cleared, of what the caller has put there.
	mkdir -p /etc/tmpfiles.d
	ln -s /dev/null /etc/tmpfiles.d/tmp.conf
	wait_for_systemd &
	exec /lib/systemd/systemd --unit=basic.target --show-status=no
}

wait_for_systemd() {
	local tries
	for tries in {1..600}; do
		[ -S /run/systemd/private ] && systemctl --quiet is-active basic.target && break
		sleep 0.2
	done
	[ "$tries" = 600 ] && echo "lab: systemd does not come up" >/dev/kmsg
	serve_orders
}

main() {
	[ "$1" ] || enter_overlay
	mapfile -d '' COMMAND <$LAB/argv
	[ "$1" = on_terminal ] && start_on_terminal
	mount_all
	[ -e $LAB/systemd ] && hand_over
	serve_orders
}

serve_orders() {
	find_port lab.control
	exec 3<>"$PORT"
	echo running >&3
	if [ -e $LAB/terminal ]; then
		run_on_terminal
	else
		run_piped
	fi
	echo "status $?" >&3
	# The caller ends the machine once it has everything.
	while :; do sleep 1000; done
}

main "${1-}"
