package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"netd/firmware/ext4"
	"netd/firmware/gpt"
)

// checkTools names every tool that is missing, with its package.
func checkTools() error {
	var missing []string
	for tool, pkg := range map[string]string{
		"mksquashfs": "squashfs-tools", "mkfs.vfat": "dosfstools", "mcopy": "mtools", "mke2fs": "e2fsprogs", "zstd": "zstd", "openssl": "openssl",
	} {
		if _, err := exec.LookPath(tool); err != nil {
			missing = append(missing, fmt.Sprintf("%s (Debian package %s)", tool, pkg))
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("not installed: %s", strings.Join(missing, ", "))
	}
	return nil
}

// run starts a tool and turns what it complains about into one line.
func run(ctx context.Context, env []string, stdin io.Reader, tool string, args ...string) error {
	cmd := exec.CommandContext(ctx, tool, args...)
	for _, v := range os.Environ() {
		// mksquashfs refuses a time from both the environment and its options.
		if !strings.HasPrefix(v, "SOURCE_DATE_EPOCH=") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, append(env, "LC_ALL=C", "TZ=UTC")...)
	cmd.Stdin = stdin
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %s", filepath.Base(tool), err, strings.Join(strings.Fields(out.String()), " "))
	}
	return nil
}

// squashfs writes the tree as a squashfs.
func squashfs(ctx context.Context, t tree, out string, when time.Time, options ...string) error {
	r, w := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := t.writeTar(w, when)
		w.CloseWithError(err)
		written <- err
	}()
	at := strconv.FormatInt(when.Unix(), 10)
	args := append([]string{
		"-", out, "-tar", "-noappend", "-quiet", "-no-progress", "-no-xattrs",
		"-mkfs-time", at, "-all-time", at, "-root-mode", "0755", "-root-uid", "0", "-root-gid", "0",
	}, options...)
	err := run(ctx, nil, r, "mksquashfs", args...)
	r.CloseWithError(errors.New("mksquashfs has ended"))
	if tarErr := <-written; tarErr != nil && err == nil {
		err = tarErr
	}
	if err != nil {
		return fmt.Errorf("make %s: %w", filepath.Base(out), err)
	}
	return nil
}

// fat writes files into a new FAT file system of a given size. Names with
// slashes make folders.
func fat(ctx context.Context, out string, size int64, bits int, label string, id gpt.UUID, when time.Time, files []fatFile) error {
	if err := blank(out, size); err != nil {
		return err
	}
	env := []string{"SOURCE_DATE_EPOCH=" + strconv.FormatInt(when.Unix(), 10), "MTOOLS_SKIP_CHECK=1"}
	err := run(ctx, env, nil, "mkfs.vfat", "-F", strconv.Itoa(bits), "-S", "512", "-s", "1", "--invariant",
		"-i", fmt.Sprintf("%x", id[:4]), "-n", label, out)
	made := map[string]bool{}
	for _, f := range files {
		for i, c := range f.name {
			if dir := f.name[:i]; c == '/' && !made[dir] && err == nil {
				made[dir] = true
				err = run(ctx, env, nil, "mmd", "-i", out, "::"+dir)
			}
		}
		if err == nil {
			err = run(ctx, env, bytes.NewReader(f.data), "mcopy", "-i", out, "-", "::"+f.name)
		}
	}
	if err != nil {
		return fmt.Errorf("make %s: %w", filepath.Base(out), err)
	}
	return nil
}

type fatFile struct {
	name string
	data []byte
}

// emptyData writes the data partition's file system.
func emptyData(ctx context.Context, out string, size int64, id gpt.UUID, when time.Time) error {
	if err := blank(out, size); err != nil {
		return err
	}
	conf := out + ".conf"
	if err := os.WriteFile(conf, []byte(ext4.Config), 0o644); err != nil {
		return err
	}
	env := []string{"E2FSPROGS_FAKE_TIME=" + strconv.FormatInt(when.Unix(), 10), "MKE2FS_CONFIG=" + conf}
	args := ext4.MakeArgs("data", size, "hash_seed="+id.String(), "lazy_itable_init=0", "lazy_journal_init=0")
	if err := run(ctx, env, nil, "mke2fs", append(args, "-U", id.String(), out)...); err != nil {
		return fmt.Errorf("make %s: %w", filepath.Base(out), err)
	}
	return nil
}

// blank makes a sparse file.
func blank(path string, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(size), f.Close())
}
