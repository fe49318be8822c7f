package main

import (
	"context"
	"fmt"
)

// Pods are the starts of pods on one gateway and its containerd, in seconds.
type Pods struct {
	Netd    []float64 `json:"netd"`
	Network []float64 `json:"of_it_network"`
	Ctr     []float64 `json:"ctr_run"`
	Load    []float64 `json:"of_it_load"`
	// Ratios are netd against ctr run, pair by pair; WithoutLoad leaves out what
	// ctr, a program that is started anew each time, takes to come up.
	Ratios      []float64 `json:"ratios"`
	WithoutLoad []float64 `json:"ratios_without_load"`
}

func (b *bench) pods(ctx context.Context, pairs int) (Pods, error) {
	var p Pods
	if err := b.ask(ctx, &p, fmt.Sprintf("pods --pairs %d", pairs)); err != nil {
		return p, err
	}
	if len(p.Netd) != pairs || len(p.Ctr) != pairs || len(p.Load) != pairs {
		return p, fmt.Errorf("of %d pairs the gateway reports %+v", pairs, p)
	}
	for i := range pairs {
		p.Ratios = append(p.Ratios, p.Netd[i]/p.Ctr[i])
		p.WithoutLoad = append(p.WithoutLoad, p.Netd[i]/(p.Ctr[i]-p.Load[i]))
	}
	return p, nil
}
