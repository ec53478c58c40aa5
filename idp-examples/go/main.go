// An identity provider for Portcullis: standard library only.
//
//	go run . -listen 127.0.0.1:8000 -users users.json
//	go run . -hash < password        # prints the hash of a password
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

const questionBytesMax = 64 << 10

type mapping struct {
	Entry  string `json:"entry"`
	Target string `json:"target"`
	Access string `json:"access,omitempty"`
}

type user struct {
	PasswordHash      string
	PublicKeys        []string
	Form              string
	Role              string
	HomeDirectoryType string
	HomeDirectory     string
	Home              string
	Mappings          []mapping
}

type question struct {
	Method, Username string
	Password         string
}

type provider struct {
	users map[string]user
	// An unknown user is compared with this hash, so that it takes as long as a wrong password.
	nobody string
}

func (p provider) answer(q question) (map[string]any, error) {
	user, known := p.users[q.Username]
	denial := map[string]any{"allow": false}
	if user.Form == "transfer-family" {
		denial = map[string]any{}
	}
	// Only the method decides what is asked. A password that merely looks blank is still one, and
	// must not turn the question into a look-up of keys. Transfer Family's event has no method:
	// there exactly "" means a key look-up.
	lookUp := q.Method == "public-key" || q.Method == "" && q.Password == ""
	if lookUp && len(user.PublicKeys) == 0 {
		return denial, nil
	}
	if !lookUp {
		stored := p.nobody
		if known {
			stored = user.PasswordHash
		}
		if right, err := passwordIsRight(q.Password, stored); err != nil || !right || !known {
			return denial, err
		}
	}

	keysName, answer := "publicKeys", map[string]any{"allow": true, "mappings": user.Mappings}
	if user.Form == "transfer-family" {
		keysName, answer = "PublicKeys", transferFamily(user)
	} else if user.Home != "" {
		answer["home"] = user.Home
	}
	if lookUp { // keys in the answer to a password would make it invalid
		answer[keysName] = user.PublicKeys
	}
	return answer, nil
}

func transferFamily(u user) map[string]any {
	answer := map[string]any{"Role": u.Role, "HomeDirectoryType": u.HomeDirectoryType}
	if u.HomeDirectoryType != "LOGICAL" {
		answer["HomeDirectory"] = u.HomeDirectory
		return answer
	}
	rows := []map[string]string{}
	for _, m := range u.Mappings {
		rows = append(rows, map[string]string{"Entry": m.Entry, "Target": m.Target})
	}
	details, _ := json.Marshal(rows)                 // strings always can be
	answer["HomeDirectoryDetails"] = string(details) // a string that holds JSON
	return answer
}

func (p provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var q question
	body := json.NewDecoder(http.MaxBytesReader(w, r.Body, questionBytesMax))
	if r.Method != http.MethodPost || body.Decode(&q) != nil || q.Username == "" {
		http.Error(w, `{"error": "not a question"}`, http.StatusBadRequest)
		return
	}
	answer, err := p.answer(q)
	if err != nil { // not a denial: the gateway is to see that this is an outage
		log.Printf("user %q: %v", q.Username, err)
		http.Error(w, `{"error": "internal"}`, http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(answer)
}

func main() {
	listen := flag.String("listen", "127.0.0.1:8000", "host:port")
	file := flag.String("users", "users.json", "the users, as JSON")
	hash := flag.Bool("hash", false, "print the hash of the password on standard input")
	flag.Parse()
	if *hash {
		password, err := io.ReadAll(os.Stdin)
		must(err)
		fmt.Println(newHash(strings.TrimRight(string(password), "\r\n")))
		return
	}
	text, err := os.ReadFile(*file)
	must(err)
	p := provider{nobody: newHash("")}
	must(json.Unmarshal(text, &p.users))
	listener, err := net.Listen("tcp", *listen)
	must(err)
	fmt.Printf("listening on http://%s/\n", listener.Addr())
	// The idle time is longer than the gateway keeps a connection: it must not end while a
	// question is on its way.
	server := http.Server{Handler: p, ReadTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
	must(server.Serve(listener))
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
