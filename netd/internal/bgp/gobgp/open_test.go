package gobgp

import (
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// open is an OPEN message of AS 65101, hold time 9, with what follows its identifier.
func open(t *testing.T, parameters string) []byte {
	t.Helper()
	b := unhex(t, strings.Repeat("ff", 16)+"0000 01 04 fe4d 0009 0a000102"+parameters)
	b[17] = byte(len(b))
	b[16] = byte(len(b) >> 8)
	return b
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestWithoutCapabilities(t *testing.T) {
	const usual = "12 02 10 0104 00010001 0200 0600 4104 0000fe4d" // IPv4, route refresh, extended message, AS
	long := "ff ff 0109 02 0106 49ff" + strings.Repeat("61", 255) + "0200 0600 01"
	tests := []struct {
		name, have string
		codes      []byte
		want       string
	}{
		{"one", usual, []byte{6}, "10 02 0e 0104 00010001 0200 4104 0000fe4d"},
		{"two", usual, []byte{2, 65}, "0a 02 08 0104 00010001 0600"},
		{"one that is not there", usual, []byte{73}, usual},
		{"none", usual, nil, usual},
		{"all", usual, []byte{AllCapabilities}, "00"},
		{"each alone, of which one is left out", "0c 02 06 0104 00010001 02 02 0600", []byte{6}, "08 02 06 0104 00010001"},
		{"of another parameter nothing", "06 01 02 0600 02 00", []byte{6}, "04 01 02 0600"},
		{"RFC 9072, short afterwards", strings.TrimSuffix(long, " 01") + " ", []byte{73}, "06 02 04 0200 0600"},
		{"RFC 9072 for what is short", "ff ff 0009 02 0006 0104 00010001", nil, "08 02 06 0104 00010001"},
		{"a length beyond the end", "14 02 12 0104", []byte{6}, "14 02 12 0104"},
		{"a capability beyond its parameter", "05 02 03 0604 00", []byte{6}, "05 02 03 0604 00"},
		{"nothing", "", []byte{6}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			have := open(t, tt.have)
			if strings.HasPrefix(tt.name, "RFC 9072, ") { // its lengths are of what is there
				n := len(have) - parametersAt - 4
				have[parametersAt+2], have[parametersAt+3] = byte(n>>8), byte(n)
				have[parametersAt+5], have[parametersAt+6] = byte((n-3)>>8), byte(n-3)
			}
			before := slices.Clone(have)
			if got, want := WithoutCapabilities(have, tt.codes), open(t, tt.want); !slices.Equal(got, want) {
				t.Errorf("%x, want %x", got, want)
			}
			if !slices.Equal(have, before) {
				t.Error("the message itself was changed")
			}
		})
	}
}

// FuzzWithoutCapabilities: whatever is left out, what remains is an OPEN that GoBGP
// understands if it understood the one before, without what was to be left out.
func FuzzWithoutCapabilities(f *testing.F) {
	f.Add([]byte{4, 0xfe, 0x4d, 0, 9, 10, 0, 1, 2, 8, 2, 6, 1, 4, 0, 1, 0, 1}, byte(1))
	f.Add([]byte{4, 0xfe, 0x4d, 0, 9, 10, 0, 1, 2, 255, 255, 0, 5, 2, 0, 2, 6, 0}, byte(6))
	f.Fuzz(func(t *testing.T, body []byte, code byte) {
		message := append(slices.Repeat([]byte{0xff}, 16), byte((len(body)+headerLen)>>8), byte(len(body)+headerLen), bgp.BGP_MSG_OPEN)
		message = append(message, body...)
		parse := func(m []byte) (*bgp.BGPMessage, error) { return bgp.ParseBGPMessage(m) }
		if _, err := parse(message); err != nil || len(message) > bgp.BGP_MAX_MESSAGE_LENGTH {
			WithoutCapabilities(message, []byte{code}) // which must not panic
			return
		}
		after, err := parse(WithoutCapabilities(message, []byte{code}))
		if err != nil {
			t.Fatalf("without %d: %v", code, err)
		}
		for _, p := range after.Body.(*bgp.BGPOpen).OptParams {
			capabilities, is := p.(*bgp.OptionParameterCapability)
			if is && slices.ContainsFunc(capabilities.Capability, func(c bgp.ParameterCapabilityInterface) bool { return byte(c.Code()) == code }) {
				t.Errorf("%d is still there", code)
			}
		}
	})
}

func TestRefusal(t *testing.T) {
	ours := open(t, "00")
	for notification, want := range map[string]string{
		"02 07 4900":      "refuses our OPEN: unsupported capability (2/7): host-name (73); no-capabilities leaves capabilities out",
		"02 07 0600 6304": "refuses our OPEN: unsupported capability (2/7): extended-message (6): capability 99; no-capabilities leaves capabilities out",
		"02 07":           "refuses our OPEN: unsupported capability (2/7); no-capabilities leaves capabilities out",
		"02 04":           `refuses our OPEN: unsupported optional parameter (2/4); no-capabilities = ["all"] sends none`,
		"02 06":           "refuses our OPEN: unacceptable hold time (2/6): hold-time is 9s, and the peer wants another",
		"02 02":           "refuses our OPEN: bad peer AS (2/2)",
		"06 07":           "ends the session before it is up: code 6(cease) subcode 7(connection collision resolution) (6/7)",
		"02":              "refuses our OPEN: a NOTIFICATION without a code",
	} {
		if got := Refusal(append(make([]byte, headerLen), unhex(t, notification)...), ours); got != want {
			t.Errorf("%s: %q, want %q", notification, got, want)
		}
	}
}

// What is left out goes to the speaker with the peer's name.
func TestDescription(t *testing.T) {
	for _, p := range []Peer{{Name: "tor1"}, {Name: "tor1", Session: Session{Without: []string{"all", "host-name"}}}} {
		want := map[int][]byte{0: nil, 2: {AllCapabilities, 73}}[len(p.Without)]
		if got := LeftOut(description(p)); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", description(p), got, want)
		}
	}
}
