package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	tolerance = 5 * time.Minute
	largest   = 8 << 20
)

var (
	keys   [][]byte
	folder = setting("EVENTS", "events")
	plain  = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
)

func setting(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

func isGenuine(header http.Header, body []byte) bool {
	id, moment := header.Get("webhook-id"), header.Get("webhook-timestamp")
	seconds, err := strconv.ParseInt(moment, 10, 64)
	if err != nil || !plain.MatchString(id) || time.Since(time.Unix(seconds, 0)).Abs() > tolerance {
		return false
	}
	for _, key := range keys {
		mac := hmac.New(sha256.New, key)
		fmt.Fprintf(mac, "%s.%s.", id, moment)
		mac.Write(body)
		expected := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
		for _, given := range strings.Fields(header.Get("webhook-signature")) {
			if hmac.Equal([]byte(expected), []byte(given)) {
				return true
			}
		}
	}
	return false
}

// store tells whether the event is new; it is on disk when it returns.
func store(id string, body []byte) (bool, error) {
	draft, err := os.CreateTemp(folder, id+".*.part")
	if err != nil {
		return false, err
	}
	defer os.Remove(draft.Name())
	defer draft.Close()
	if _, err := draft.Write(body); err != nil {
		return false, err
	}
	if err := draft.Sync(); err != nil {
		return false, err
	}
	linked := os.Link(draft.Name(), filepath.Join(folder, id+".json"))
	if linked != nil && !errors.Is(linked, fs.ErrExist) {
		return false, linked
	}
	entries, err := os.Open(folder)
	if err != nil {
		return false, err
	}
	defer entries.Close()
	return linked == nil, entries.Sync()
}

func receive(answer http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(answer, request.Body, largest))
	if err != nil {
		answer.WriteHeader(http.StatusRequestEntityTooLarge)
		return
	}
	if request.Method != http.MethodPost || !isGenuine(request.Header, body) {
		answer.WriteHeader(http.StatusUnauthorized)
		return
	}
	isNew, err := store(request.Header.Get("webhook-id"), body)
	if err != nil {
		answer.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	answer.WriteHeader(http.StatusNoContent)
	var event struct {
		Time, Subject string
		Data          struct{ Status string }
	}
	if isNew && json.Unmarshal(body, &event) == nil {
		fmt.Println(event.Time, event.Subject, event.Data.Status)
	}
}

func main() {
	for _, secret := range strings.Fields(os.Getenv("WEBHOOK_SECRETS")) {
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
		if err != nil {
			log.Fatal("WEBHOOK_SECRETS: not base64")
		}
		keys = append(keys, key)
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:"+setting("PORT", "8000"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening on port", listener.Addr().(*net.TCPAddr).Port)
	log.Fatal(http.Serve(listener, http.HandlerFunc(receive)))
}
