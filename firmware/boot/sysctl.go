package boot

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// sysctl is a key of /proc/sys and what it is set to, if the kernel has it.
type sysctl struct{ key, value string }

// early are set before any module is loaded and any daemon is started. They are the
// box's own: an agent that is started by hand on somebody's host sets none of them
// (kernel, Documentation/admin-guide/sysctl).
func early() []sysctl {
	return []sysctl{
		// Loading ipip must not make tunl0 in every namespace: none at all.
		{"net/core/fb_tunnels_only_for_init_net", "2"},
		{"kernel/panic_on_oops", "1"},
		{"kernel/panic", "2"},
		// A release is started by the firmware, never by the kernel that runs.
		{"kernel/kexec_load_disabled", "1"},
		// No keyboard and no break on the serial line does anything; root's
		// /proc/sysrq-trigger works all the same.
		{"kernel/sysrq", "0"},
		// What the kernel tells of its addresses and its log is nobody's but root's.
		{"kernel/kptr_restrict", "2"},
		{"kernel/dmesg_restrict", "1"},
		{"kernel/perf_event_paranoid", "3"},
		// Who may look into others' memory has CAP_SYS_PTRACE.
		{"kernel/yama/ptrace_scope", "2"},
		// No BPF without privilege until the next start; constants of all programs blinded.
		{"kernel/unprivileged_bpf_disabled", "1"},
		{"net/core/bpf_jit_harden", "2"},
		// Who is not root makes no user namespaces, which open much of the kernel.
		{"kernel/unprivileged_userns_clone", "0"},
		{"vm/unprivileged_userfaultfd", "0"},
		// Files in /tmp that another one has put there lead nobody astray.
		{"fs/protected_hardlinks", "1"},
		{"fs/protected_symlinks", "1"},
		{"fs/protected_fifos", "1"},
		{"fs/protected_regular", "2"},
		{"fs/suid_dumpable", "0"},
	}
}

// set writes sysctls under root, which is /proc/sys. Kernels differ in what they have: a
// key that is not there has nothing to harden.
func set(root string, all []sysctl) error {
	var errs []error
	for _, s := range all {
		f, err := os.OpenFile(root+"/"+s.key, os.O_WRONLY, 0)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err == nil {
			_, err = f.WriteString(s.value)
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("set sysctl to %s: %w", s.value, err))
		}
	}
	return errors.Join(errs...)
}

const (
	// flowMemory is how much memory of the box there is for one connection that is tracked,
	// in octets: 65,536 a GiB. One takes some 320, so all of them a fiftieth.
	flowMemory            = 16 << 10
	leastFlows, mostFlows = 16 << 10, 1 << 20
)

// flows is how many connections a box with so many octets of memory tracks. The kernel
// gives itself a tenth of that below 1 GiB (4,096 at 450 MB), by a formula of the time
// when one entry had a bucket of eight (nf_conntrack_init_start).
func flows(memory uint64) uint64 {
	return min(max(memory/flowMemory, leastFlows), mostFlows)
}

// conntrack is set when the module is there. There are as many buckets as flows, of
// 8 octets each, as in the kernel's own default.
func conntrack() ([]sysctl, error) {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return nil, fmt.Errorf("ask for the machine's memory: %w", err)
	}
	n := strconv.FormatUint(flows(uint64(info.Totalram)*uint64(info.Unit)), 10)
	return []sysctl{{"net/netfilter/nf_conntrack_buckets", n}, {"net/netfilter/nf_conntrack_max", n}}, nil
}
