package image

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func sampleTree() tree {
	t := tree{}
	t.text("a/b/file", "12345")
	t.link("a/link", "b/file")
	t.dir("run", 0o700)
	return t
}

// Debian's bsdtar or cpio are not needed: tar lists the one, and the kernel
// unpacks the other in every boot test. Here the octets are held to the format.
func TestCPIO(t *testing.T) {
	var b bytes.Buffer
	if err := sampleTree().writeCPIO(&b, time.Unix(16, 0)); err != nil {
		t.Fatal(err)
	}
	var got []string
	for data := b.Bytes(); ; {
		if len(data) < 110 || string(data[:6]) != "070701" {
			t.Fatalf("no header: %q", data)
		}
		field := func(i int) (n int) {
			for _, c := range data[6+8*i : 14+8*i] {
				n = n<<4 + strings.IndexByte("0123456789ABCDEF", c)
			}
			return n
		}
		name := string(data[110 : 110+field(11)-1])
		if name == "TRAILER!!!" {
			break
		}
		start := (110 + field(11) + 3) / 4 * 4
		got = append(got, strings.Join([]string{string(data[14:22]), name, string(data[start : start+field(6)])}, " "))
		data = data[(start+field(6)+3)/4*4:]
	}
	want := []string{"000041ED a ", "000041ED a/b ", "000081A4 a/b/file 12345", "0000A1FF a/link b/file", "000041C0 run "}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestTar(t *testing.T) {
	var b bytes.Buffer
	if err := sampleTree().writeTar(&b, time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("tar", "-tv", "--numeric-owner", "-f", "-")
	cmd.Env = []string{"TZ=UTC", "LC_ALL=C", "PATH=/usr/bin:/bin"}
	cmd.Stdin = &b
	out, err := cmd.CombinedOutput()
	want := `drwxr-xr-x 0/0               0 1970-01-01 00:00 a/
drwxr-xr-x 0/0               0 1970-01-01 00:00 a/b/
-rw-r--r-- 0/0               5 1970-01-01 00:00 a/b/file
lrwxrwxrwx 0/0               0 1970-01-01 00:00 a/link -> b/file
drwx------ 0/0               0 1970-01-01 00:00 run/
`
	if diff := cmp.Diff(want, string(out)); diff != "" || err != nil {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
}

func TestPlace(t *testing.T) {
	for in, want := range map[string]string{
		"bin/ip": "usr/bin/ip", "sbin/tc": "usr/bin/tc", "usr/sbin/nft": "usr/bin/nft", "lib64/ld.so": "usr/lib64/ld.so",
		"lib/x/libc.so.6": "usr/lib/x/libc.so.6", "etc/services": "etc/services", "usr/lib/y": "usr/lib/y",
	} {
		if got := place(in); got != want {
			t.Errorf("place(%s) = %s, expected %s", in, got, want)
		}
	}
}

func TestAppletErrors(t *testing.T) {
	for _, bad := range []string{"", "no list", "\x00[\x00[[\x00acpid", "\x00[\x00[[\x00acpid\x00\x00"} {
		if names, err := applets([]byte(bad)); err == nil {
			t.Errorf("%q: %v", bad, names)
		}
	}
}
