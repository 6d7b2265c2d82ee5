// Command etcd runs one embedded etcd member on loopback for the tests, until it is told to stop or its standard input ends.
package main

import (
	"flag"
	"log"
	"net/url"
	"os"
	"os/signal"
	"syscall"

	"go.etcd.io/etcd/server/v3/embed"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("etcd: ")
	folder := flag.String("data-dir", "", "folder of the data")
	client := flag.String("listen-client-urls", "", "address for clients, as a URL")
	peer := flag.String("listen-peer-urls", "", "address for other members, as a URL")
	unsafeNoFsync := flag.Bool("unsafe-no-fsync", false, "never wait for the disk")
	flag.Parse()

	config := embed.NewConfig()
	config.Dir = *folder
	config.LogLevel = "warn"
	config.UnsafeNoFsync = *unsafeNoFsync
	config.ListenClientUrls = []url.URL{address(*client)}
	config.AdvertiseClientUrls = config.ListenClientUrls
	config.ListenPeerUrls = []url.URL{address(*peer)}
	config.AdvertisePeerUrls = config.ListenPeerUrls
	config.InitialCluster = config.InitialClusterFromName(config.Name)

	server, err := embed.StartEtcd(config)
	if err != nil {
		log.Fatal(err)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, os.Interrupt)
	select {
	case <-stop:
		server.Close()
	case err := <-server.Err():
		log.Fatal(err)
	}
}

func address(text string) url.URL {
	parsed, err := url.Parse(text)
	if err != nil || parsed.Host == "" {
		log.Fatalf("%q is no address", text)
	}
	return *parsed
}
