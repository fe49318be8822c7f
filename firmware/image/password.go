package image

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"math/big"
	"os/exec"
	"strings"
)

// letters are those that are not taken for one another.
const letters = "abcdefghijkmnpqrstuvwxyz"

// newPassword is four times four letters: 73 bits.
func newPassword() (string, error) {
	var b strings.Builder
	for i := range 16 {
		if i > 0 && i%4 == 0 {
			b.WriteByte('-')
		}
		n, err := rand.Int(rand.Reader, big.NewInt(int64(len(letters))))
		if err != nil {
			return "", err
		}
		b.WriteByte(letters[n.Int64()])
	}
	return b.String(), nil
}

// makePassword makes a password up, tells it, and returns its hash.
func (j *job) makePassword(ctx context.Context) (string, error) {
	password, err := newPassword()
	if err != nil {
		return "", fmt.Errorf("make a password: %w", err)
	}
	hash, err := crypt(ctx, password)
	if err == nil && j.o.Password != nil {
		j.o.Password(password)
	}
	return hash, err
}

// crypt hashes a password as crypt(5) has it.
func crypt(ctx context.Context, password string) (string, error) {
	cmd := exec.CommandContext(ctx, "openssl", "passwd", "-6", "-stdin")
	var out, failed bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(password+"\n"), &out, &failed
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("hash a password: openssl: %w: %s", err, strings.TrimSpace(failed.String()))
	}
	hash := strings.TrimSpace(out.String())
	if !strings.HasPrefix(hash, "$6$") {
		return "", fmt.Errorf("hash a password: openssl says %q, expected $6$…", hash)
	}
	return hash + "\n", nil
}
