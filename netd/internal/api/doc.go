// Package api is the agent's API: HTTP with JSON over a unix socket that only
// root can open. It owns the types that a person's tools read; the daemon fills
// them. Server is the agent's side, Client the command line's.
//
//	GET    /v1/status
//	GET    /v1/peers
//	GET    /metrics             for Prometheus
//	GET    /v1/routes
//	GET    /v1/pods
//	GET    /v1/explain?prefix=ADDR|PREFIX
//	POST   /v1/configuration    a Change: reload, apply, confirm or roll back
//	POST   /v1/orders           an Order: drain or undrain, a peer down or up
//	PUT    /v1/pods/NAME    make a pod's network without a workload
//	DELETE /v1/pods/NAME    and take it away
package api
