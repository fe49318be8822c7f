package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"netd/firmware/boot"
	"netd/firmware/ext4"
	"netd/netd/layout"
)

// The data partition is mounted whatever it looks like, and no step loses what an earlier
// one would have kept: what nobody has unmounted, or the kernel has met damage in, is
// checked first (e2fsck -p); what can not be mounted, or has a folder that can not be
// read, is repaired (e2fsck -y); what even then is no file system is made anew. Only a
// disk that does not answer, or takes no writes, leaves /data in memory.
//
// A power cut in between costs nothing: e2fsck writes so that it can be run again, and a
// file system that was half made is none.

// How long e2fsck may take. A gateway is cut off meanwhile, so a check that is only for
// safety is given up sooner.
const (
	checkLimit  = 2 * time.Minute
	repairLimit = 15 * time.Minute
	makeLimit   = 10 * time.Minute
	repairGoes  = 3
	// killAfter is between SIGTERM, at which e2fsck leaves a file system that it can take
	// up again, and SIGKILL.
	killAfter = 10 * time.Second
)

// sbin is where the tools are; on the gateway it is /usr/bin.
const sbin = "/sbin"

// volume is the data partition on its way to be mounted.
type volume struct {
	disk          *disk
	label, target string
	say           func(format string, args ...any)
	log           io.Writer // what the tools say

	device string
	noted  []string // what netd status is to tell
}

// mountData never fails: the gateway comes up with a /data in memory rather than not at
// all. It is a step of boot.Init.
func mountData(d *disk, say func(format string, args ...any)) {
	v := &volume{disk: d, label: "data", target: layout.Data, say: say, log: io.Discard}
	if log, err := os.OpenFile(layout.LogDir+"/data.log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640); err != nil {
		say("%v", err)
	} else {
		defer log.Close()
		v.log = log
	}
	err := v.open()
	if len(v.noted) > 0 {
		if err := os.WriteFile(layout.DataRepaired, []byte(strings.Join(v.noted, "\n")+"\n"), 0o644); err != nil {
			say("%v", err)
		}
	}
	if err == nil {
		return
	}
	say("/data: %v", err)
	say("/data is in memory: nothing that is written there will survive a restart")
	if err := os.WriteFile(layout.DataFailed, []byte(err.Error()+"\n"), 0o644); err != nil {
		say("%v", err)
	}
	if err := (boot.Mount{Source: "tmpfs", Target: v.target, Type: "tmpfs", Flags: unix.MS_NOSUID, Data: "mode=755,size=50%"}).Do(); err != nil {
		say("%v", err)
	}
}

// note is for the console, and for netd status until the next start.
func (v *volume) note(format string, args ...any) {
	v.say(format, args...)
	v.noted = append(v.noted, fmt.Sprintf(format, args...))
}

// open lengthens the partition to the disk's end and mounts it.
func (v *volume) open() (err error) {
	if err := v.disk.growPartition(v.label); err != nil {
		v.say("lengthen partition %s: %v", v.label, err)
	}
	if v.device, err = v.disk.device(v.label); err != nil {
		return err
	}
	v.check()
	err = v.mount()
	if isDamage(err) {
		repaired := v.repair(err)
		if err = v.mount(); isDamage(err) && repaired {
			err = v.makeAnew(err)
		}
	}
	if errors.As(err, new(*unreadable)) {
		v.note("/data: %v", err) // The rest of it is better than nothing.
		err = v.attach()
	}
	if err != nil {
		return err
	}
	if err := growFileSystem(v.device, v.target); err != nil {
		v.say("lengthen the file system on %s: %v", v.device, err)
	}
	return nil
}

func (v *volume) attach() error {
	return boot.Mount{Source: v.device, Target: v.target, Type: "ext4", Flags: unix.MS_NOATIME}.Do()
}

// mount mounts the file system if its folders can be read.
func (v *volume) mount() error {
	if err := v.attach(); err != nil {
		return err
	}
	err := look(v.target, 3)
	if err == nil {
		return nil
	}
	return errors.Join(&unreadable{err}, unix.Unmount(v.target, 0))
}

// unreadable is a file system that can be mounted and has a folder that can not be read.
type unreadable struct{ error }

func (u *unreadable) Unwrap() error { return u.error }

// look reads folders, so many levels of them: netd's and containerd's own.
func look(dir string, levels int) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		if _, err := os.Lstat(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if e.IsDir() && levels > 1 {
			if err := look(name, levels-1); err != nil {
				return err
			}
		}
	}
	return nil
}

// why is an error of the kernel's about damage, in words that say so.
func why(err error) string {
	text := err.Error()
	for _, c := range []struct {
		code  syscall.Errno
		words string
	}{
		{unix.EBADMSG, "a checksum is wrong"}, {unix.EUCLEAN, "it is damaged"}, {unix.EINVAL, "there is no file system"},
	} {
		text = strings.ReplaceAll(text, c.code.Error(), c.words)
	}
	return text
}

// isDamage says whether an error is the content's fault. The kernel's EFSCORRUPTED is
// EUCLEAN and EFSBADCRC is EBADMSG; what is no ext4 at all is EINVAL.
func isDamage(err error) bool {
	return errors.Is(err, unix.EUCLEAN) || errors.Is(err, unix.EBADMSG) || errors.Is(err, unix.EINVAL) || errors.As(err, new(*unreadable))
}

// check looks at a file system that may have been damaged, and mends what can be mended
// without a doubt.
func (v *volume) check() {
	super, err := v.super()
	if err != nil || !super.InUse && !super.Errors {
		return // What can not be read is not mounted, and then repaired.
	}
	start := time.Now()
	status, _, err := v.tool(checkLimit, "e2fsck", "-p", "-f", "-C", "3", v.device)
	switch {
	case err != nil:
		v.note("/data was not checked after a power cut: %v", err)
	case status&^3 != 0:
		v.repair(errors.New("e2fsck can not mend it by itself"))
	case super.Errors:
		v.note("/data was damaged, and was mended at this start without a loss (%s/data.log)", layout.LogDir)
	case status != 0 || time.Since(start) > wordEvery:
		v.say("/data was not unmounted, and was checked: %v", time.Since(start).Round(time.Millisecond))
	}
}

func (v *volume) super() (ext4.Super, error) {
	f, err := os.Open(v.device)
	if err != nil {
		return ext4.Super{}, err
	}
	defer f.Close()
	return readSuper(f)
}

// repair has e2fsck mend all that it finds, whatever is lost, and says whether it has come
// to its end. What was mended from a copy of the superblock may take more than one go.
func (v *volume) repair(cause error) bool {
	why := why(cause)
	v.say("/data is damaged (%s) and is being repaired", why)
	corrections, status := 0, 1
	for range repairGoes {
		var out string
		var err error
		if status, out, err = v.tool(repairLimit, "e2fsck", "-y", "-f", "-C", "3", v.device); err != nil {
			v.note("/data is damaged (%s) and was not repaired: %v", why, err)
			return false
		}
		corrections += strings.Count(out, "? yes")
		if status == 0 {
			break
		}
	}
	if status&^3 == 0 {
		v.note("/data was damaged (%s), and was repaired at this start by %d corrections (%s/data.log)%s", why, corrections, layout.LogDir, v.found())
	}
	return true
}

// found counts what a repair has left without a name.
func (v *volume) found() string {
	if v.attach() != nil {
		return ""
	}
	entries, err := os.ReadDir(filepath.Join(v.target, "lost+found"))
	if err := errors.Join(err, unix.Unmount(v.target, 0)); err != nil || len(entries) == 0 {
		return ""
	}
	return fmt.Sprintf("; %d files and folders have lost their names and are in /data/lost+found", len(entries))
}

// makeAnew makes an empty file system, if the disk answers: one that does not may answer
// at the next start, and has its data still.
func (v *volume) makeAnew(cause error) error {
	f, err := os.Open(v.device)
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = f.ReadAt(make([]byte, 1<<20), 0)
	}
	if err != nil {
		return fmt.Errorf("%w; and not made anew: %w", cause, err)
	}
	v.say("/data can not be repaired (%s) and is made anew", why(cause))
	const conf = "/run/mke2fs.conf"
	if err := os.WriteFile(conf, []byte(ext4.Config), 0o644); err != nil {
		return err
	}
	args := append([]string{"mke2fs"}, ext4.MakeArgs(v.label, size)...)
	status, out, err := v.tool(makeLimit, append(args, v.device)...)
	if err == nil && status != 0 {
		err = fmt.Errorf("mke2fs: status %d: %s", status, strings.Join(strings.Fields(out), " "))
	}
	if err != nil {
		return fmt.Errorf("%w; made anew: %w", cause, err)
	}
	if err := v.mount(); err != nil {
		return err
	}
	v.note("what was on /data is lost: it could not be repaired (%s), and the file system was made anew at this start", why(cause))
	return nil
}

// tool runs a program and returns its exit status and the end of what it said. It is the
// only child that there is. Each few seconds it says how far it is.
func (v *volume) tool(limit time.Duration, argv ...string) (status int, out string, err error) {
	said, saidBy, err := os.Pipe()
	if err != nil {
		return 0, "", err
	}
	defer said.Close()
	progress, progressBy, err := os.Pipe()
	if err != nil {
		return 0, "", errors.Join(err, saidBy.Close())
	}
	defer progress.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, "", errors.Join(err, saidBy.Close(), progressBy.Close())
	}
	p, err := os.StartProcess(filepath.Join(sbin, argv[0]), argv, &os.ProcAttr{
		Env: []string{"PATH=" + sbin, "MKE2FS_CONFIG=/run/mke2fs.conf"}, Files: []*os.File{null, saidBy, saidBy, progressBy},
	})
	if err := errors.Join(err, null.Close(), saidBy.Close(), progressBy.Close()); err != nil {
		return 0, "", err
	}
	text, steps := make(chan string, 1), make(chan string)
	go func() { text <- v.keep(said) }()
	go scan(progress, steps)
	ended := make(chan *os.ProcessState, 1)
	go func() {
		state, err := p.Wait()
		if err != nil {
			v.say("%s: %v", argv[0], err)
		}
		ended <- state
	}()
	state, err := v.await(argv[0], p, limit, steps, ended)
	if err != nil || state == nil {
		return 0, "", errors.Join(err, errors.New(argv[0]+" was ended"))
	}
	if out = <-text; !state.Exited() {
		return 0, out, fmt.Errorf("%s: %v", argv[0], state)
	}
	return state.ExitCode(), out, nil
}

// await waits for the end of a program, which it ends after the limit.
func (v *volume) await(name string, p *os.Process, limit time.Duration, steps <-chan string, ended <-chan *os.ProcessState) (*os.ProcessState, error) {
	start, step := time.Now(), "begins"
	word := time.NewTicker(wordEvery)
	defer word.Stop()
	over, kill := time.After(limit), (<-chan time.Time)(nil)
	var late error
	for {
		select {
		case step = <-steps:
		case <-word.C:
			v.say("/data: %s, %s, %v of %v", name, step, time.Since(start).Round(time.Second), limit)
		case <-over:
			late = fmt.Errorf("%s was not done within %v", name, limit)
			kill = time.After(killAfter)
			_ = p.Signal(syscall.SIGTERM) // It may have ended.
		case <-kill:
			_ = p.Kill()
		case state := <-ended:
			return state, late
		}
	}
}

// scan reads e2fsck's progress (-C): pass, how far, of what.
func scan(r io.Reader, steps chan<- string) {
	for lines := bufio.NewScanner(r); lines.Scan(); {
		var pass int
		var now, all int64
		if n, err := fmt.Sscan(lines.Text(), &pass, &now, &all); err != nil || n < 3 || all == 0 {
			continue
		}
		select {
		case steps <- fmt.Sprintf("pass %d of 5, %d %%", pass, now*100/all):
		default:
		}
	}
}

// keep passes on to the log what a tool says, and returns the end of it.
func (v *volume) keep(r io.Reader) string {
	const room = 64 << 10
	var text bytes.Buffer
	to := io.MultiWriter(&text, v.log)
	for {
		n, err := io.CopyN(to, r, room)
		if text.Len() > 2*room {
			text.Next(text.Len() - room)
		}
		if err != nil || n == 0 {
			return text.String()
		}
	}
}
