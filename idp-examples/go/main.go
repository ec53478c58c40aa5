// An identity provider for Portcullis: standard library only.
//
//	go run . -listen 127.0.0.1:8000 -users users.json
//	go run . -hash < password        # prints the hash of a password
package main

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

type user struct {
	PasswordHash                                       string
	PublicKeys                                         []string
	Form, Role, HomeDirectoryType, HomeDirectory, Home string
	Mappings                                           []map[string]string // entry, target, access
}

type question struct {
	Method, Password, RequestID string
	Username                    *string // nil: not a question
}

type provider struct {
	users  map[string]user
	nobody string // hash for an unknown user, who is to take as long as a wrong password
}

func (p provider) answer(q question) map[string]any {
	user, known := p.users[*q.Username]
	hasPassword := user.PasswordHash != ""
	if !hasPassword { // unknown, or one who has keys only: any password is wrong
		user.PasswordHash = p.nobody
	}
	denial, keysName := map[string]any{"allow": false}, "publicKeys"
	answer := map[string]any{"allow": true, "mappings": user.Mappings}
	if user.Form == "transfer-family" {
		denial, keysName, answer = map[string]any{}, "PublicKeys", transferFamily(user)
	} else if user.Home != "" {
		answer["home"] = user.Home
	}
	// Only the method decides what is asked. A password that merely looks blank is still one, and
	// must not turn the question into a look-up of keys. Transfer Family's event has no method:
	// there exactly "" means a key look-up.
	if q.Method == "public-key" || q.Method == "" && q.Password == "" {
		if len(user.PublicKeys) == 0 {
			return denial
		}
		answer[keysName] = user.PublicKeys
		return answer
	}
	found, err := hash(q.Password, user.PasswordHash)
	if err != nil { // a no about this user: an error would say that nobody can log in
		log.Printf("user %q: %v", *q.Username, err)
	}
	right := subtle.ConstantTimeCompare([]byte(found), []byte(user.PasswordHash)) == 1
	if err != nil || !known || !hasPassword || !right {
		return denial
	}
	return answer // without keys: they would make the answer to a password invalid
}

func transferFamily(u user) map[string]any {
	answer := map[string]any{"Role": u.Role, "HomeDirectoryType": u.HomeDirectoryType}
	if u.HomeDirectoryType != "LOGICAL" {
		answer["HomeDirectory"] = u.HomeDirectory
		return answer
	}
	rows := []map[string]string{}
	for _, m := range u.Mappings {
		rows = append(rows, map[string]string{"Entry": m["entry"], "Target": m["target"]})
	}
	details, _ := json.Marshal(rows) // strings always can be
	answer["HomeDirectoryDetails"] = string(details)
	return answer
}

// hash hashes a password with the rounds and the salt that another hash names.
func hash(password, like string) (string, error) {
	parts := strings.Split(like, "$")
	if len(parts) != 4 || parts[0] != "pbkdf2-sha256" {
		return "", errors.New("unknown hash scheme")
	}
	rounds, err := strconv.Atoi(parts[1])
	salt, saltErr := base64.StdEncoding.DecodeString(parts[2])
	key, keyErr := pbkdf2.Key(sha256.New, password, salt, rounds, sha256.Size)
	parts[3] = base64.StdEncoding.EncodeToString(key)
	return strings.Join(parts, "$"), errors.Join(err, saltErr, keyErr)
}

// newHash takes a salt of its own, and as many rounds as OWASP asks for.
func newHash(password string) string {
	salt := base64.StdEncoding.EncodeToString([]byte(rand.Text()))
	return must(hash(password, "pbkdf2-sha256$600000$"+salt+"$"))
}

func (p provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var q question
	body := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10))
	if r.Method != http.MethodPost || body.Decode(&q) != nil || q.Username == nil {
		http.Error(w, `{"error": "not a question"}`, http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	answer := p.answer(q)
	verdict := "denied"
	if answer["allow"] == true || answer["Role"] != nil {
		verdict = "allowed"
	}
	// The id is in the gateway's log too; the password is in none.
	slog.Info("answered", "requestId", q.RequestID, "user", *q.Username, "method", q.Method, "verdict", verdict)
	json.NewEncoder(w).Encode(answer)
}

func main() {
	listen := flag.String("listen", "127.0.0.1:8000", "host:port")
	file := flag.String("users", "users.json", "the users, as JSON")
	hashing := flag.Bool("hash", false, "print the hash of the password on standard input")
	flag.Parse()
	if *hashing {
		password := must(io.ReadAll(os.Stdin))
		fmt.Println(newHash(strings.TrimRight(string(password), "\r\n")))
		return
	}
	p := provider{nobody: newHash("")}
	if err := json.Unmarshal(must(os.ReadFile(*file)), &p.users); err != nil {
		log.Fatal(err)
	}
	listener := must(net.Listen("tcp", *listen))
	fmt.Printf("listening on http://%s/\n", listener.Addr())
	// Idle for longer than the gateway keeps a connection: none is to end under a question.
	server := http.Server{Handler: p, ReadTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
	log.Fatal(server.Serve(listener))
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}
