//go:build net || vm

package cage

import (
	"fmt"
	"net"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// workProbes are what a speaker must be able to do.
func workProbes() []probe {
	return []probe{
		{"listen, connect and talk", talk, done, true},
		{"set a session's options", tcp(sessionOptions), done, true},
		{"read the links", func(probeEnv) error { _, err := net.Interfaces(); return err }, done, true},
		{"many threads", threads, done, true},
		{"a hundred megabytes, given back", func(probeEnv) error {
			for range 4 {
				b := make([]byte, 100<<20)
				for i := 0; i < len(b); i += 4096 {
					b[i] = 1
				}
				runtime.GC()
			}
			return nil
		}, done, true},
	}
}

func talk(probeEnv) error {
	for _, address := range []string{"127.0.0.1", "::1"} {
		l, err := net.Listen("tcp", net.JoinHostPort(address, itoa(port)))
		if err != nil {
			return err
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = fmt.Fprint(c, "hello")
				_ = c.Close()
			}
		}()
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}, Timeout: 10 * time.Second}
		c, err := d.Dial("tcp", l.Addr().String())
		if err != nil {
			return err
		}
		if _, err := c.Read(make([]byte, 5)); err != nil {
			return err
		}
		_ = c.Close()
		_ = l.Close()
	}
	return nil
}

func sessionOptions(fd int) error {
	key := unix.TCPMD5Sig{Keylen: 6}
	key.Addr.Family = unix.AF_INET
	copy(key.Addr.Data[2:], []byte{127, 0, 0, 1})
	copy(key.Key[:], "secret")
	for _, err := range []error{
		unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TTL, 255),
		unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MINTTL, 255),
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_MAXSEG, 1400),
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		unix.SetsockoptTCPMD5Sig(fd, unix.IPPROTO_TCP, unix.TCP_MD5SIG_EXT, &key),
		unix.BindToDevice(fd, "lo"),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

// threads blocks fifty of them at once.
func threads(probeEnv) error {
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			runtime.LockOSThread()
			_ = unix.Nanosleep(&unix.Timespec{Nsec: 1e6}, nil)
		})
	}
	all.Wait()
	return nil
}

// takeAll does not end by itself.
func takeAll(probeEnv) error {
	var kept [][]byte
	for {
		b := make([]byte, 1<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = byte(len(kept))
		}
		kept = append(kept, b)
	}
}
