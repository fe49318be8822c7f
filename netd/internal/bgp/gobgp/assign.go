package gobgp

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/osrg/gobgp/v4/api"
	"google.golang.org/protobuf/proto"
)

// Filters are GoBGP's sets and policies, in the order in which they are asked. What
// none of them accepts is refused.
type Filters struct {
	Generation       string
	All              []Neighbors
	Sets             []*api.DefinedSet
	Imports, Exports []*api.Policy
	names            map[string]string // of the sets, by what they have
}

func (f *Filters) name(s string) string { return "netd-" + s + f.Generation }

// any is the condition that one of a set's members matches. Sets with the same members
// are made once.
func (f *Filters) any(s *api.DefinedSet) *api.MatchSet { return f.match(s, api.MatchSet_TYPE_ANY) }

func (f *Filters) match(s *api.DefinedSet, how api.MatchSet_Type) *api.MatchSet {
	key := s.String()
	name, known := f.names[key]
	if !known {
		name = f.name(strconv.Itoa(len(f.Sets)))
		s.Name, f.names[key] = name, name
		f.Sets = append(f.Sets, s)
	}
	return &api.MatchSet{Name: name, Type: how}
}

// Equal tells whether two filters of one generation do the same.
func (f Filters) Equal(o Filters) bool {
	samePolicy := func(a, b *api.Policy) bool { return proto.Equal(a, b) }
	return slices.EqualFunc(f.Sets, o.Sets, func(a, b *api.DefinedSet) bool { return proto.Equal(a, b) }) &&
		slices.EqualFunc(f.Imports, o.Imports, samePolicy) && slices.EqualFunc(f.Exports, o.Exports, samePolicy)
}

// Assign puts filters in force and removes those that were: at each moment one or
// the other decide, and nothing is let through in between.
func Assign(ctx context.Context, client api.GoBgpServiceClient, was *Filters, now Filters) error {
	if err := now.build(ctx, client); err != nil {
		return errors.Join(err, now.remove(ctx, client))
	}
	for direction, policies := range map[api.PolicyDirection][]*api.Policy{
		api.PolicyDirection_POLICY_DIRECTION_IMPORT: now.Imports,
		api.PolicyDirection_POLICY_DIRECTION_EXPORT: now.Exports,
	} {
		var names []*api.Policy
		for _, p := range policies {
			names = append(names, &api.Policy{Name: p.Name})
		}
		if _, err := client.SetPolicyAssignment(ctx, &api.SetPolicyAssignmentRequest{Assignment: &api.PolicyAssignment{
			Name: "global", Direction: direction, Policies: names, DefaultAction: api.RouteAction_ROUTE_ACTION_REJECT,
		}}); err != nil {
			return fmt.Errorf("assign BGP policies: %w", err)
		}
	}
	if was == nil {
		return nil
	}
	return was.remove(ctx, client)
}

func (f Filters) build(ctx context.Context, client api.GoBgpServiceClient) error {
	for _, set := range f.Sets {
		if _, err := client.AddDefinedSet(ctx, &api.AddDefinedSetRequest{DefinedSet: set}); err != nil {
			return fmt.Errorf("add BGP set %s: %w", set.Name, err)
		}
	}
	for _, p := range slices.Concat(f.Imports, f.Exports) {
		if _, err := client.AddPolicy(ctx, &api.AddPolicyRequest{Policy: p}); err != nil {
			return fmt.Errorf("add BGP policy %s: %w", p.Name, err)
		}
	}
	return nil
}

// remove takes away what is there of the filters.
func (f Filters) remove(ctx context.Context, client api.GoBgpServiceClient) error {
	var errs []error
	for _, p := range slices.Concat(f.Imports, f.Exports) {
		if _, err := client.DeletePolicy(ctx, &api.DeletePolicyRequest{Policy: &api.Policy{Name: p.Name}, All: true}); err != nil {
			errs = append(errs, fmt.Errorf("delete BGP policy %s: %w", p.Name, err))
		}
	}
	for _, s := range f.Sets {
		empty := &api.DefinedSet{DefinedType: s.DefinedType, Name: s.Name}
		if _, err := client.DeleteDefinedSet(ctx, &api.DeleteDefinedSetRequest{DefinedSet: empty, All: true}); err != nil {
			errs = append(errs, fmt.Errorf("delete BGP set %s: %w", s.Name, err))
		}
	}
	return errors.Join(errs...)
}
