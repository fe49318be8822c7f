package api_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"netd/netd/internal/api"
)

// gateway is an agent that knows one pod.
type gateway struct{}

func (gateway) View(context.Context, uint64) api.View {
	return api.View{Status: api.Status{Gateway: "gw-a"}, Peers: []api.Peer{{Name: "tor1"}}, Routes: func() []api.Route { return []api.Route{{Kind: "pod"}} }, Pods: []api.Pod{{Name: "web-0"}}}
}

func (g gateway) Peers(ctx context.Context) []api.Peer { return g.View(ctx, 0).Peers }

func (gateway) Explain(_ context.Context, p netip.Prefix) (api.Explanation, error) {
	return api.Explanation{Query: p, Kernel: "directly"}, nil
}

func (gateway) AddPod(_ context.Context, name string) (api.Pod, error) {
	if name != "web-1" {
		return api.Pod{}, errors.New("no free address: all 64 are in use")
	}
	return api.Pod{Name: name}, nil
}

func (gateway) Configure(_ context.Context, c api.Change) (api.Changed, error) {
	switch c.Text {
	case "bad":
		return api.Changed{}, api.BadFile{Text: c.File + ":1:1: one\n" + c.File + ":2:1: two"}
	case "busy":
		return api.Changed{}, errors.New("another is on trial")
	}
	return api.Changed{File: c.File, Changes: []string{string(c.Do), c.Confirm.String()}}, nil
}

func (gateway) Order(_ context.Context, o api.Order) error {
	if o.Do != api.PeerDown || o.Peer != "tor1" || o.Message != "moving" {
		return fmt.Errorf("order %+v", o)
	}
	return nil
}

func (gateway) RemovePod(_ context.Context, name string) error {
	if name != "web-1" {
		return errors.New("pod " + name + " belongs to a workload")
	}
	return nil
}

// serve runs a server and returns its socket.
func serve(t *testing.T) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "netd.sock")
	if err := os.WriteFile(socket, nil, 0o600); err != nil { // left by an earlier life
		t.Fatal(err)
	}
	l, err := api.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(socket); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v, %v, want it for root only", st.Mode(), err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- api.Serve(ctx, l, gateway{}, http.NotFoundHandler(), slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("serve ended with %v", err)
		}
	})
	return socket
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestClientAndServer(t *testing.T) {
	ctx, c := t.Context(), api.NewClient(serve(t))
	var status api.Status
	if err := c.Get(ctx, "/v1/status", &status); err != nil || status.Gateway != "gw-a" {
		t.Errorf("status: %+v, %v", status, err)
	}
	for path, v := range map[string]any{"/v1/peers": new([]api.Peer), "/v1/routes": new([]api.Route), "/v1/pods": new([]api.Pod)} {
		if err := c.Get(ctx, path, v); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	if p, err := c.AddPod(ctx, "web-1"); err != nil || p.Name != "web-1" {
		t.Errorf("add pod: %+v, %v", p, err)
	}
	if err := c.RemovePod(ctx, "web-1"); err != nil {
		t.Errorf("remove pod: %v", err)
	}
	want := api.Changed{File: "/x.toml", Changes: []string{"apply", "5m0s"}}
	if done, err := c.Configure(ctx, api.Change{Do: api.Apply, File: "/x.toml", Confirm: 5 * time.Minute}); err != nil || !cmp.Equal(done, want) {
		t.Errorf("configure: %+v, %v, want %+v", done, err, want)
	}
	_, err := c.Configure(ctx, api.Change{File: "/x.toml", Text: "bad"})
	if bad := (api.BadFile{}); !errors.As(err, &bad) || bad.Text != "/x.toml:1:1: one\n/x.toml:2:1: two" {
		t.Errorf("a bad file: %v", err)
	}
	if _, err := c.Configure(ctx, api.Change{Text: "busy"}); errors.As(err, new(api.BadFile)) || text(err) != "another is on trial" {
		t.Errorf("a refusal: %v", err)
	}
	if err := c.Order(ctx, api.Order{Do: api.PeerDown, Peer: "tor1", Message: "moving"}); err != nil {
		t.Errorf("order: %v", err)
	}
	if err := c.Order(ctx, api.Order{Do: api.Drain}); text(err) != "order {Do:drain Peer: Message:}" {
		t.Errorf("a refused order: %v", err)
	}
	for query, want := range map[string]string{"10.64.3.9": "10.64.3.9/32", "10.64.3.9/26": "10.64.3.0/26"} {
		if e, err := c.Explain(ctx, query); err != nil || e.Query.String() != want {
			t.Errorf("explain %s: %+v, %v, want %s", query, e, err, want)
		}
	}
}

func TestErrors(t *testing.T) {
	ctx, socket := t.Context(), serve(t)
	c := api.NewClient(socket)
	_, full := c.AddPod(ctx, "web-9")
	_, prefix := c.Explain(ctx, "tor1")
	gone := api.NewClient(socket+".gone").Get(ctx, "/v1/status", nil)
	for what, tt := range map[string]struct {
		err  error
		want string
	}{
		"the agent's reason":    {full, "no free address: all 64 are in use"},
		"a workload's pod":      {c.RemovePod(ctx, "web-0"), "pod web-0 belongs to a workload"},
		"a name with a slash":   {c.RemovePod(ctx, "../x"), "pod ../x belongs to a workload"},
		"no prefix":             {prefix, `"tor1": expected an address or a prefix, e.g. 10.64.3.9 or 10.64.3.0/26`},
		"no such path":          {c.Get(ctx, "/v2/status", nil), "the agent answered 404 Not Found"},
		"an answer of its kind": {c.Get(ctx, "/v1/pods", new(api.Status)), "read the agent's answer: json: cannot unmarshal array into Go value of type api.Status"},
		"no agent":              {gone, "no agent answers on " + socket + ".gone: is netd run running?"},
	} {
		if diff := cmp.Diff(tt.want, text(tt.err)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
}

// The caller's mistakes and ours have different codes.
func TestCodes(t *testing.T) {
	socket := serve(t)
	raw := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	for request, want := range map[string]int{
		"GET /v1/explain?prefix=x":       http.StatusBadRequest,
		"GET /v1/explain":                http.StatusBadRequest,
		"GET /v1/explain?prefix=1.2.3.4": http.StatusOK,
		"PUT /v1/pods/web-9":             http.StatusInternalServerError,
		"POST /v1/pods/web-1":            http.StatusMethodNotAllowed,
		"POST /v1/configuration":         http.StatusBadRequest,
	} {
		method, path, _ := strings.Cut(request, " ")
		req := httptest.NewRequest(method, "http://netd"+path, nil)
		req.RequestURI = ""
		resp, err := raw.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %s, want %d", request, resp.Status, want)
		}
	}
}
