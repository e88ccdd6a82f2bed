// Command probe is the container of the self-test: it answers who it is and says what it sees from the inside.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

func environment() map[string]string {
	all := map[string]string{}
	for _, pair := range os.Environ() {
		name, value, _ := strings.Cut(pair, "=")
		all[name] = value
	}
	return all
}

func answer(w http.ResponseWriter, value any, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	_ = json.NewEncoder(w).Encode(value)
}

func main() {
	client := &http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		name, err := os.Hostname()
		answer(w, name, err)
	})
	http.HandleFunc("/env", func(w http.ResponseWriter, _ *http.Request) { answer(w, environment(), nil) })
	http.HandleFunc("/read", func(w http.ResponseWriter, r *http.Request) {
		content, err := os.ReadFile(r.FormValue("path"))
		answer(w, string(content), err)
	})
	http.HandleFunc("/write", func(w http.ResponseWriter, r *http.Request) {
		answer(w, "written", os.WriteFile(r.FormValue("path"), []byte("x"), 0o644))
	})
	http.HandleFunc("/fetch", func(w http.ResponseWriter, r *http.Request) {
		response, err := client.Get(r.FormValue("url"))
		if err != nil {
			answer(w, nil, err)
			return
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		answer(w, string(body), err)
	})
	fmt.Println("probe: listening on :8080")
	fmt.Println(http.ListenAndServe(":8080", nil))
	os.Exit(1)
}
