package aws

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// parseStreamAsk reads a request: members are one letter each, and those of
// other letters are nobody's business.
func parseStreamAsk(format string, payload []byte) (a streamAsk, refused *streamRefusal) {
	doc, refused := readStream(format, payload)
	if refused != nil {
		return a, refused
	}
	wrong := func(name, want string) {
		if refused == nil {
			refused = &streamRefusal{"InvalidRequest", name + ": want " + want}
		}
	}
	text := func(name string) string {
		v, ok := doc[name]
		s, isText := v.(string)
		if ok && (!isText || len(s) > maxToken) {
			wrong(name, fmt.Sprintf("a text of at most %d bytes", maxToken))
			return ""
		}
		return s
	}
	whole := func(name string) *int64 {
		v, ok := doc[name]
		if !ok {
			return nil
		}
		n, isWhole := v.(int64)
		if !isWhole {
			wrong(name, "a whole number")
			return nil
		}
		return &n
	}
	a.token, a.etag = text("c"), text("e")
	a.version, a.file, a.size, a.offset, a.count = whole("s"), whole("f"), whole("l"), whole("o"), whole("n")
	switch b := doc["b"].(type) {
	case nil:
	case []byte: // as CBOR has it
		a.bitmap = b
	case string:
		bits, err := hex.DecodeString(b)
		if err != nil || len(bits) == 0 {
			wrong("b", "a bitmap in hexadecimal digits")
		}
		a.bitmap = bits
	default:
		wrong("b", "a bitmap")
	}
	if len(a.bitmap) > maxBlocks/8 {
		wrong("b", fmt.Sprintf("a bitmap of at most %d bytes", maxBlocks/8))
	}
	return a, refused
}

// readStream gives the members: text, int64, []byte, and others as anything.
func readStream(format string, payload []byte) (map[string]any, *streamRefusal) {
	if format == "cbor" {
		doc, err := readCBOR(payload)
		if err != nil {
			return nil, &streamRefusal{"InvalidCbor", err.Error()}
		}
		return doc, nil
	}
	raw, err := object(payload)
	if err != nil || !utf8.Valid(payload) {
		return nil, &streamRefusal{"InvalidJson", "the request is no JSON object in UTF-8"}
	}
	doc := map[string]any{}
	for name, value := range raw {
		var s string
		if string(value) == "null" {
			continue
		}
		if json.Unmarshal(value, &s) == nil {
			doc[name] = s
		} else if n, err := strconv.ParseInt(string(value), 10, 64); err == nil {
			doc[name] = n
		} else {
			doc[name] = false // neither text nor a whole number
		}
	}
	return doc, nil
}

// writeStream makes a message of the service.
func writeStream(format string, body map[string]any) []byte {
	if format == "cbor" {
		return writeCBOR(nil, body)
	}
	if p, ok := body["p"].([]byte); ok {
		body["p"] = base64.StdEncoding.EncodeToString(p)
	}
	data, err := json.Marshal(body)
	if err != nil { // cannot be: texts and numbers
		return []byte(`{"o":"InternalError"}`)
	}
	return data
}
