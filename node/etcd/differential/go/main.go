// Command etcd is the real etcd, of the version that go.mod pins. The differential test runs it
// beside Standby and compares every answer of the two.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() {
	etcdmain.Main(os.Args)
}
