package main

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
)

func hashPassword(password string, salt []byte, iterations int) string {
	key, err := pbkdf2.Key(sha256.New, password, salt, iterations, 32)
	if err != nil {
		panic(err) // only for lengths that this program does not ask for
	}
	encode := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("pbkdf2-sha256$%d$%s$%s", iterations, encode(salt), encode(key))
}

// newHash hashes with a salt of its own and as many rounds as OWASP asks for.
func newHash(password string) string {
	salt := make([]byte, 16)
	rand.Read(salt) // never fails: the program ends first
	return hashPassword(password, salt, 600_000)
}

func passwordIsRight(password, stored string) (bool, error) {
	parts := strings.Split(stored, "$")
	if len(parts) != 4 || parts[0] != "pbkdf2-sha256" {
		return false, fmt.Errorf("unknown hash scheme")
	}
	iterations, err := strconv.Atoi(parts[1])
	if err != nil {
		return false, err
	}
	salt, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil {
		return false, err
	}
	found := hashPassword(password, salt, iterations)
	return subtle.ConstantTimeCompare([]byte(found), []byte(stored)) == 1, nil
}
