// Says what docker would send to a registry, by docker's own reading of its configuration.
//
// For each JSON object on standard input, {"folder", "host", "path", "environment"}, it prints one: {"username", "password",
// "identity_token", "error", "warning"}.
package main

import (
	"bytes"
	"encoding/json"
	"os"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/configfile"
)

type question struct {
	Folder, Host, Path, Environment string
}

type answer struct {
	Username      string `json:"username"`
	Password      string `json:"password"`
	IdentityToken string `json:"identity_token"`
	Error         string `json:"error"`
	Warning       string `json:"warning"`
}

func ask(asked question) (said answer) {
	os.Setenv("PATH", asked.Path)
	os.Setenv(configfile.DockerEnvConfigKey, asked.Environment)
	config.SetDir(asked.Folder)
	var warning bytes.Buffer
	file := config.LoadDefaultConfigFile(&warning)
	login, err := file.GetAuthConfig(asked.Host)
	if err != nil {
		said.Error = err.Error()
	}
	said.Username, said.Password, said.IdentityToken = login.Username, login.Password, login.IdentityToken
	said.Warning = warning.String()
	return said
}

func main() {
	questions, answers := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var asked question
		if questions.Decode(&asked) != nil {
			return
		}
		if answers.Encode(ask(asked)) != nil {
			os.Exit(1)
		}
	}
}
