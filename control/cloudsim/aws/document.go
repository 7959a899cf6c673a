package aws

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

// placeholder stands in a document, as JSON has it, for a URL.
var placeholder = regexp.MustCompile(`\$\{aws:iot:s3-presigned-url:([^}"]*)\}`)

// placeholderOf is what makes the URL of a file at each delivery.
func placeholderOf(file string) string {
	return "${aws:iot:s3-presigned-url:https://s3.region.amazonaws.com/bucket/" + (&url.URL{Path: file}).EscapedPath() + "}"
}

// render makes of a document what is delivered: each placeholder becomes a URL
// that nobody has seen before. One that cannot stays.
func (c *Cloud) render(document json.RawMessage) json.RawMessage {
	return placeholder.ReplaceAllFunc(document, func(found []byte) []byte {
		var object string
		if json.Unmarshal([]byte(`"`+string(placeholder.FindSubmatch(found)[1])+`"`), &object) != nil {
			return found
		}
		file, ok := fileOf(object)
		if !ok {
			return found
		}
		address, err := c.sim.Address(cloudsim.Software{File: file})
		if err != nil {
			return found
		}
		text, err := json.Marshal(c.sign(address))
		if err != nil {
			return found
		}
		return text[1 : len(text)-1]
	})
}

// sign gives a URL the query of a presigned one, unless it has a query.
func (c *Cloud) sign(address string) string {
	if strings.Contains(address, "?") {
		return address
	}
	return address + "?" + url.Values{
		"X-Amz-Date":      {c.sim.Now().UTC().Format("20060102T150405Z")},
		"X-Amz-Expires":   {"3600"},
		"X-Amz-Signature": {rand.Text()},
	}.Encode()
}

// fileOf is the key of an S3 object: all that is behind the bucket, which is
// the first element of the path or the first label of the host.
func fileOf(object string) (file string, ok bool) {
	u, err := url.Parse(object)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" {
		return "", false
	}
	file = strings.TrimPrefix(u.Path, "/")
	if strings.HasPrefix(u.Host, "s3.") || strings.HasPrefix(u.Host, "s3-") {
		_, file, _ = strings.Cut(file, "/")
	}
	for part := range strings.SplitSeq(file, "/") {
		if part == "" || part == "." || part == ".." {
			return "", false
		}
	}
	return file, true
}

// documentOf is the job document that is made of software.
func documentOf(job string, software cloudsim.Software, from *stream) map[string]any {
	out := map[string]any{}
	put := func(name string, value any) {
		if value != nil {
			out[name] = value
		}
	}
	put("version", or(software.Version))
	put("size", or(software.Size))
	put("sha256", or(software.SHA256))
	switch {
	case from != nil:
		out["stream"], out["file"] = job, from.File
	case software.File != "":
		out["url"] = placeholderOf(software.File)
	default:
		out["url"] = software.URL
	}
	return out
}

// checkDocument gives a document as it is kept.
func checkDocument(v any) (json.RawMessage, error) {
	if text, ok := v.(string); ok {
		v = json.RawMessage(text)
	}
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("%w: document: %w", cloudsim.ErrConfig, err)
	}
	if _, err := object(data); err != nil {
		return nil, fmt.Errorf("%w: document: want a JSON object", cloudsim.ErrConfig)
	}
	if len(data) > maxJobBytes {
		return nil, fmt.Errorf("%w: document: %d bytes, the limit is %d", cloudsim.ErrConfig, len(data), maxJobBytes)
	}
	return data, nil
}
