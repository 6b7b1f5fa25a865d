// Package flame draws CPU profiles as a flame graph: one HTML file that needs
// neither a server nor the network.
package flame

import (
	_ "embed"
	"html/template"
	"io"
	"maps"
	"slices"

	"github.com/google/pprof/profile"

	"github.com/ringwire/ringwire/cmd/ringwire/internal/profile/stack"
)

//go:embed flame.html
var page string

var pageTemplate = template.Must(template.New("flame").Parse(page))

// Graph is what is drawn: the processes of one suite.
type Graph struct {
	Title     string
	Machine   string // one line under the title
	Processes []Process
}

// Process is one process's CPU profile.
type Process struct {
	Name     string
	Profile  *profile.Profile
	Requests uint64 // while it was taken
}

// data is what the page's script reads.
type data struct {
	Title     string        `json:"title"`
	Names     []string      `json:"names"`  // of functions
	Groups    []string      `json:"groups"` // of functions, by the same index
	Processes []processData `json:"processes"`
}

type processData struct {
	Name  string     `json:"name"`
	Scale float64    `json:"scale"` // nanoseconds per request of one sample
	Roles []roleData `json:"roles"`
}

type roleData struct {
	Name string `json:"name"`
	Root *node  `json:"root"`
}

// node is a function called from its parent. Samples are its own, without its
// children's.
type node struct {
	Name     int     `json:"n"` // index in names; the root's is -1
	Samples  int64   `json:"s,omitempty"`
	Children []*node `json:"c,omitempty"`
}

// Write draws the graph. Samples of the profiler itself are left out.
func Write(w io.Writer, g Graph) error {
	b := builder{index: make(map[string]int)}
	d := data{Title: g.Title}
	for _, p := range g.Processes {
		d.Processes = append(d.Processes, b.process(p))
	}
	d.Names, d.Groups = b.names, b.groups
	return pageTemplate.Execute(w, map[string]any{"Title": g.Title, "Machine": g.Machine, "Data": d})
}

type builder struct {
	names  []string
	groups []string
	index  map[string]int
}

func (b *builder) process(p Process) processData {
	d := processData{Name: p.Name}
	if p.Requests > 0 {
		d.Scale = float64(p.Profile.Period) / float64(p.Requests)
	}
	roots := make(map[string]*node)
	for _, s := range stack.Read(p.Profile) {
		if s.Role == stack.RoleProfiler {
			continue
		}
		if roots[s.Role] == nil {
			roots[s.Role] = &node{Name: -1}
		}
		b.add(roots[s.Role], s)
	}
	for _, role := range slices.Sorted(maps.Keys(roots)) {
		d.Roles = append(d.Roles, roleData{role, roots[role]})
	}
	return d
}

// add counts a stack, which has the leaf first.
func (b *builder) add(at *node, s stack.Stack) {
	for _, frame := range slices.Backward(s.Frames) {
		name := b.name(frame)
		i := slices.IndexFunc(at.Children, func(n *node) bool { return n.Name == name })
		if i < 0 {
			i = len(at.Children)
			at.Children = append(at.Children, &node{Name: name})
		}
		at = at.Children[i]
	}
	at.Samples += s.Values[0]
}

// name is the index of a function.
func (b *builder) name(frame string) int {
	short := stack.Short(frame)
	i, known := b.index[short]
	if !known {
		i = len(b.names)
		b.index[short] = i
		b.names = append(b.names, short)
		b.groups = append(b.groups, string(stack.OwnerOf(frame)))
	}
	return i
}
