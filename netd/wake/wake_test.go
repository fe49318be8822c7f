package wake

import "testing"

func TestSignal(t *testing.T) {
	s := New()
	select {
	case <-s:
		t.Fatal("a new signal is ready")
	default:
	}
	s.Send()
	s.Send() // does not wait
	<-s
	select {
	case <-s:
		t.Fatal("two signals before a look are two")
	default:
	}
}
