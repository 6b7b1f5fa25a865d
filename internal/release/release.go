package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"
)

// A release is one under way.
type release struct {
	version string
	work    string // all of it, and what go install builds and downloads in the trial
	tree    string // the clone
	proxy   string // a module proxy of files
	order   []*moduleDir
}

// platforms are those that binaries are built for. A variable, so that a test builds one.
var platforms = []string{"linux/amd64", "linux/arm64", "darwin/amd64", "darwin/arm64"}

// publish makes a module of the clone one that can be installed, and puts it on the proxy.
func (r *release) publish(m *moduleDir) error {
	ours := make(map[string]bool, len(r.order))
	for _, o := range r.order {
		ours[o.path] = true
	}
	if err := pin(m.file, func(path string) bool { return ours[path] }, r.version); err != nil {
		return err
	}
	mod, err := m.file.Format()
	if err != nil {
		return err
	}
	dir := filepath.Join(r.tree, filepath.FromSlash(m.dir))
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), mod, 0o644); err != nil {
		return err
	}
	if _, err := r.goCommand(dir, nil, "mod", "tidy"); err != nil { // the sums of what it now requires
		return err
	}
	if mod, err = os.ReadFile(filepath.Join(dir, "go.mod")); err != nil {
		return err
	}
	return r.serve(m, dir, mod)
}

// serve puts a module on the proxy: https://go.dev/ref/mod#goproxy-protocol.
func (r *release) serve(m *moduleDir, dir string, mod []byte) error {
	escaped, err := module.EscapePath(m.path)
	if err != nil {
		return err
	}
	at := filepath.Join(r.proxy, filepath.FromSlash(escaped), "@v")
	if err := os.MkdirAll(at, 0o755); err != nil {
		return err
	}
	info, err := json.Marshal(map[string]any{"Version": r.version, "Time": time.Now().UTC().Format(time.RFC3339)})
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{"list": []byte(r.version + "\n"), r.version + ".info": info, r.version + ".mod": mod} {
		if err := os.WriteFile(filepath.Join(at, name), content, 0o644); err != nil {
			return err
		}
	}
	archive, err := os.Create(filepath.Join(at, r.version+".zip"))
	if err != nil {
		return err
	}
	if err := zip.CreateFromDir(archive, module.Version{Path: m.path, Version: r.version}, dir); err != nil {
		_ = archive.Close()
		return err
	}
	return archive.Close()
}

// commit commits the clone's go.mod and go.sum files and tags the commit, once for each module.
func (r *release) commit() error {
	if _, err := output(r.tree, "git", "add", "--all"); err != nil {
		return err
	}
	if _, err := output(r.tree, "git", "commit", "--quiet", "-m",
		"release: "+r.version+"\n\nThe modules require each other at this version, instead of by replace lines."); err != nil {
		return err
	}
	for _, m := range r.order {
		if _, err := output(r.tree, "git", "tag", "-a", "-m", m.path+" "+r.version, tagOf(m.dir, r.version)); err != nil {
			return err
		}
	}
	return nil
}

// tryInstall installs the command as a user does, with an empty module cache. What is not ours
// comes from this machine's cache as far as it is there.
func (r *release) tryInstall() error {
	cache, err := output("", "go", "env", "GOMODCACHE")
	if err != nil {
		return err
	}
	bin := filepath.Join(r.work, "bin")
	env := []string{
		"GOMODCACHE=" + filepath.Join(r.work, "modcache"), "GOBIN=" + bin,
		"GOPROXY=" + r.proxies("file://"+filepath.ToSlash(filepath.Join(cache, "cache", "download"))),
	}
	if _, err := r.goCommand(r.work, env, "install", root+"/cmd/ringwire@"+r.version); err != nil {
		return err
	}
	said, err := output("", filepath.Join(bin, "ringwire"), "--version")
	if err != nil {
		return err
	}
	if !strings.HasPrefix(said, "ringwire "+r.version+" ") {
		return fmt.Errorf("what go install has built says %q, and not ringwire %s", said, r.version)
	}
	fmt.Println("go install", root+"/cmd/ringwire@"+r.version, "works:", said)
	return nil
}

// build builds the binaries and writes their checksums.
func (r *release) build(out string) error {
	hash, err := output(r.tree, "git", "rev-parse", "--short=12", "HEAD")
	if err != nil {
		return err
	}
	var sums strings.Builder
	for _, platform := range platforms {
		goos, arch, _ := strings.Cut(platform, "/")
		name := fmt.Sprintf("ringwire_%s_%s_%s", r.version, goos, arch)
		env := []string{"GOOS=" + goos, "GOARCH=" + arch, "CGO_ENABLED=0"}
		if _, err := r.goCommand(filepath.Join(r.tree, "cmd", "ringwire"), env, "build", "-trimpath",
			"-ldflags", "-s -w -X main.commit="+hash+" -X main.version="+r.version, "-o", filepath.Join(out, name), "."); err != nil {
			return err
		}
		binary, err := os.ReadFile(filepath.Join(out, name))
		if err != nil {
			return err
		}
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(binary), name)
		fmt.Printf("%s, %d KiB\n", filepath.Join(out, name), len(binary)>>10)
	}
	return os.WriteFile(filepath.Join(out, "SHA256SUMS"), []byte(sums.String()), 0o644)
}

// keepTags brings the tags from the clone to the repository.
func (r *release) keepTags(repository string) error {
	args := []string{"fetch", "--quiet", "--no-tags", r.tree}
	for _, name := range tags(r.order, r.version) {
		args = append(args, "refs/tags/"+name+":refs/tags/"+name)
	}
	if _, err := output(repository, "git", args...); err != nil {
		return err
	}
	fmt.Println("tagged; to publish: git push origin " + strings.Join(tags(r.order, r.version), " "))
	return nil
}

func tags(modules []*moduleDir, version string) (names []string) {
	for _, m := range modules {
		names = append(names, tagOf(m.dir, version))
	}
	return names
}

// root is the path of the repository's first module.
const root = "github.com/ringwire/ringwire"

// proxies is GOPROXY: ours first, then others, then what this machine uses.
func (r *release) proxies(others ...string) string {
	list := append([]string{"file://" + filepath.ToSlash(r.proxy)}, others...)
	if own, err := output("", "go", "env", "GOPROXY"); err == nil && own != "" {
		list = append(list, own)
	}
	return strings.Join(list, ",")
}

// goCommand runs the go command so that it finds our modules on the proxy, and asks nobody for
// their sums: nobody has them yet. In a module cache of its own, so that this machine's never
// holds a version that was only tried.
func (r *release) goCommand(dir string, env []string, args ...string) (string, error) {
	cache, err := output("", "go", "env", "GOMODCACHE")
	if err != nil {
		return "", err
	}
	own := []string{
		"GOWORK=off", "GOFLAGS=-mod=mod -buildvcs=false -modcacherw", "GONOSUMDB=" + root + "," + root + "/*",
		"GOMODCACHE=" + filepath.Join(r.work, "buildcache"),
		"GOPROXY=" + r.proxies("file://"+filepath.ToSlash(filepath.Join(cache, "cache", "download"))),
	}
	return outputWith(dir, append(own, env...), "go", args...)
}

func output(dir, name string, args ...string) (string, error) {
	return outputWith(dir, nil, name, args...)
}

// outputWith runs a program and returns what it prints, trimmed. Its error has what it says of it.
func outputWith(dir string, env []string, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, strings.TrimSpace(said.String()))
	}
	return strings.TrimSpace(string(out)), nil
}
