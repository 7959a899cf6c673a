package manifest

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Limits on a file.
const (
	maxSize = 2 << 30 // bytes
	maxName = 255     // bytes of its name
)

// File is a file that a manifest vouches for.
type File struct {
	ID              string
	Name            string
	Size            int64  // bytes
	SHA256          string // hexadecimal
	Properties      map[string]string
	DownloadHandler string // such as microsoft/delta:1, "" for none
	// Related are files from which the download handler can make this one.
	Related []File
}

// Source gives the digest, in hexadecimal, of the file that a related file
// is a difference to; "" if it names none.
func (f File) Source() string {
	if alg := f.Properties["microsoft.sourceFileHashAlgorithm"]; !strings.EqualFold(alg, "sha256") {
		return ""
	}
	digest, err := sha256Hex(f.Properties["microsoft.sourceFileHash"])
	if err != nil {
		return ""
	}
	return digest
}

// Delta gives the related file that is a difference to one of the digests in
// have, if there is one. What is built with it must have the digest of f.
func (f File) Delta(have []string) (File, bool) {
	for _, r := range f.Related {
		if source := r.Source(); source != "" && slices.Contains(have, source) {
			return r, true
		}
	}
	return File{}, false
}

var fileID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

func readFiles(o object, name string, most int, top bool) ([]File, error) {
	all, err := o.object(name)
	if err != nil {
		return nil, err
	}
	if len(all) > most {
		return nil, fmt.Errorf("%s: %d, the limit is %d", name, len(all), most)
	}
	var files []File
	for _, id := range all.keys() {
		if !fileID.MatchString(id) {
			return nil, fmt.Errorf("%s: an id has 1 to 64 letters, digits, . _ and -", name)
		}
		f, err := readFile(all[id], top)
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", name, id, err)
		}
		f.ID = id
		files = append(files, f)
	}
	return files, nil
}

func readFile(raw []byte, top bool) (f File, err error) {
	o, err := readObject(raw)
	if err != nil {
		return f, err
	}
	if f.Name, err = o.text("fileName"); err != nil {
		return f, err
	}
	if f.Name == "" || f.Name == "." || f.Name == ".." || len(f.Name) > maxName || strings.ContainsAny(f.Name, "/\\\x00") {
		return f, fmt.Errorf("fileName: want a name of 1 to %d bytes without slashes", maxName)
	}
	if f.Size, err = o.size("sizeInBytes"); err != nil {
		return f, err
	}
	if f.Size > maxSize {
		return f, fmt.Errorf("sizeInBytes: %d, the limit is %d", f.Size, int64(maxSize))
	}
	hashes, err := o.object("hashes")
	if err != nil {
		return f, err
	}
	digest, _ := text(hashes.get("sha256"))
	if f.SHA256, err = sha256Hex(digest); err != nil {
		return f, fmt.Errorf("hashes: %w", err)
	}
	properties, err := o.object("properties")
	if err != nil {
		return f, err
	}
	f.Properties = properties.texts()
	if !top {
		return f, nil
	}
	handler, err := o.object("downloadHandler")
	if err != nil {
		return f, err
	}
	if f.DownloadHandler, err = handler.text("id"); err != nil {
		return f, err
	}
	f.Related, err = readFiles(o, "relatedFiles", maxRelated, false)
	return f, err
}

// sha256Hex reads a digest in standard base64 with padding.
func sha256Hex(text string) (string, error) {
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) != sha256.Size || strings.ContainsAny(text, "\r\n") {
		return "", fmt.Errorf("sha256: want the base64 of %d bytes", sha256.Size)
	}
	return hex.EncodeToString(raw), nil
}

// equalHash says whether a digest in base64 is that of data.
func equalHash(digest string, data []byte) bool {
	want, err := sha256Hex(digest)
	sum := sha256.Sum256(data)
	have, _ := hex.DecodeString(want)
	return err == nil && bytes.Equal(have, sum[:])
}
