package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
)

// Order is what holds until the next reboot, whatever the configuration says.
type Order struct {
	Do OrderDo `json:"do"`
	// Peer and Message are for PeerDown and PeerUp.
	Peer    string `json:"peer,omitempty"`
	Message string `json:"message,omitempty"`
}

// OrderDo is what is ordered.
type OrderDo string

// The orders.
const (
	// Drain asks all peers to use other gateways (RFC 8326); Undrain ends that.
	Drain   OrderDo = "drain"
	Undrain OrderDo = "undrain"
	// PeerDown ends a session and tells the peer why (RFC 9003); PeerUp ends that.
	PeerDown OrderDo = "peer-down"
	PeerUp   OrderDo = "peer-up"
)

func order(g Gateway) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var o Order
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest)).Decode(&o); err != nil {
			respond(w, nil, badRequest{fmt.Errorf("read the request: %w", err)})
			return
		}
		respond(w, struct{}{}, g.Order(r.Context(), o))
	}
}

// Order gives an order.
func (c *Client) Order(ctx context.Context, o Order) error {
	body, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("ask the agent: %w", err)
	}
	return c.send(ctx, http.MethodPost, "/v1/orders", bytes.NewReader(body), new(struct{}))
}
