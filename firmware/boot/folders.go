package boot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// mostAside is how many of one folder's stand-ins are kept for a person.
const mostAside = 4

// folders looks after those that the daemons can not do without, and which they make
// themselves where nothing is in the way. What it says goes to a file, too, from which
// netd status tells it.
type folders struct {
	say  func(format string, args ...any)
	told string
}

// clear puts aside what is in the place of a folder, as after a repair of the file system,
// or is one that can not be read.
func (f folders) clear(dirs ...string) {
	for _, dir := range dirs {
		wrong := ""
		_, err := os.ReadDir(dir) // A link to a folder is one.
		switch info, statErr := os.Lstat(dir); {
		case err == nil:
			continue
		case errors.Is(statErr, fs.ErrNotExist):
			continue
		case statErr == nil && !info.IsDir():
			wrong = "is no folder"
		default:
			wrong = fmt.Sprintf("can not be read (%v)", err)
		}
		aside, err := putAside(dir)
		if err != nil {
			f.tell("%s %s: %v", dir, wrong, err)
			continue
		}
		f.tell("%s %s: it is now %s, and an empty folder takes its place", dir, wrong, aside)
	}
}

// tell does not stop at a file that can not be written: the console has it.
func (f folders) tell(format string, args ...any) {
	f.say(format, args...)
	to, err := os.OpenFile(f.told, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err == nil {
		_, err = fmt.Fprintf(to, format+"\n", args...)
		err = errors.Join(err, to.Close())
	}
	if err != nil {
		f.say("%v", err)
	}
}

// putAside renames what is there, and forgets the oldest of those that were before.
func putAside(path string) (string, error) {
	old, err := filepath.Glob(path + ".damaged-*")
	if err != nil {
		return "", err
	}
	slices.Sort(old)
	number := time.Now().Unix()
	if len(old) > 0 { // The clock may stand where it stood before.
		last, _ := strconv.ParseInt(filepath.Ext(old[len(old)-1])[len(".damaged-"):], 10, 64)
		number = max(number, last+1)
	}
	for len(old) >= mostAside {
		if err := os.RemoveAll(old[0]); err != nil {
			return "", err
		}
		old = old[1:]
	}
	aside := fmt.Sprintf("%s.damaged-%010d", path, number)
	return aside, os.Rename(path, aside)
}
