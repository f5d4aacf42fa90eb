// Command provisioner gives every claim an ext4 image of exactly its size, mounted by a loop device
// on the host where the claim's pod will run. One runs on every host, for that host's claims only.
//
// It never touches claims of other hosts: those are left to the provisioner there, also when that
// host is away.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

const (
	provisionerName = "local.standby.dev"
	hostLabel       = "kubernetes.io/hostname"
	// smallestBytes is what mkfs.ext4 needs for a filesystem with a journal.
	smallestBytes = 8 << 20
	// mountTimeout bounds one run of mkfs, mount or umount.
	mountTimeout = 30 * time.Second
)

type imageProvisioner struct {
	host   string
	folder string
}

func (p *imageProvisioner) image(volume string) string {
	return filepath.Join(p.folder, volume+".img")
}

func (p *imageProvisioner) mountPoint(volume string) string {
	return filepath.Join(p.folder, volume)
}

// Provision makes, formats and mounts the image for a claim whose pod is scheduled to this host.
func (p *imageProvisioner) Provision(ctx context.Context, options controller.ProvisionOptions) (*v1.PersistentVolume, controller.ProvisioningState, error) {
	if options.SelectedNodeName == "" {
		return nil, controller.ProvisioningFinished, fmt.Errorf("claim %s has no host yet: its storage class must wait for the first consumer", options.PVC.Name)
	}
	if options.SelectedNodeName != p.host {
		return nil, controller.ProvisioningFinished, &controller.IgnoredError{Reason: "the claim belongs to host " + options.SelectedNodeName}
	}
	size := options.PVC.Spec.Resources.Requests[v1.ResourceStorage]
	if size.Value() < smallestBytes {
		return nil, controller.ProvisioningFinished, fmt.Errorf("claim %s asks for %s: the least is %d bytes", options.PVC.Name, size.String(), smallestBytes)
	}
	if err := p.make(ctx, options.PVName, size.Value()); err != nil {
		return nil, controller.ProvisioningFinished, err
	}
	filesystem := v1.PersistentVolumeFilesystem
	return &v1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: options.PVName},
		Spec: v1.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: *options.StorageClass.ReclaimPolicy,
			AccessModes:                   options.PVC.Spec.AccessModes,
			VolumeMode:                    &filesystem,
			Capacity:                      v1.ResourceList{v1.ResourceStorage: size},
			PersistentVolumeSource: v1.PersistentVolumeSource{
				Local: &v1.LocalVolumeSource{Path: p.mountPoint(options.PVName)},
			},
			NodeAffinity: &v1.VolumeNodeAffinity{Required: &v1.NodeSelector{
				NodeSelectorTerms: []v1.NodeSelectorTerm{{
					MatchExpressions: []v1.NodeSelectorRequirement{{
						Key: hostLabel, Operator: v1.NodeSelectorOpIn, Values: []string{p.host},
					}},
				}},
			}},
		},
	}, controller.ProvisioningFinished, nil
}

// make is safe to repeat: an image that is there keeps its contents, a mount that is there stays.
func (p *imageProvisioner) make(ctx context.Context, volume string, size int64) error {
	image, target := p.image(volume), p.mountPoint(volume)
	if _, err := os.Stat(image); os.IsNotExist(err) {
		unfinished := image + ".new"
		file, err := os.Create(unfinished)
		if err != nil {
			return fmt.Errorf("create image: %w", err)
		}
		err = file.Truncate(size)
		if closeErr := file.Close(); err == nil {
			err = closeErr
		}
		if err != nil {
			return fmt.Errorf("size image %s: %w", unfinished, err)
		}
		if err := run(ctx, "mkfs.ext4", "-q", "-F", "-m", "0", unfinished); err != nil {
			return err
		}
		if err := os.Rename(unfinished, image); err != nil {
			return fmt.Errorf("name image: %w", err)
		}
	}
	if err := os.MkdirAll(target, 0o755); err != nil {
		return fmt.Errorf("make mount point: %w", err)
	}
	if mounted(target) {
		return nil
	}
	return run(ctx, "mount", "-o", "loop", image, target)
}

// Delete unmounts and removes the image of a volume of this host.
func (p *imageProvisioner) Delete(ctx context.Context, volume *v1.PersistentVolume) error {
	if !p.owns(volume) {
		return &controller.IgnoredError{Reason: "the volume belongs to another host"}
	}
	target := p.mountPoint(volume.Name)
	if mounted(target) {
		if err := run(ctx, "umount", target); err != nil {
			return err
		}
	}
	if err := os.Remove(target); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("remove mount point: %w", err)
	}
	if err := os.Remove(p.image(volume.Name)); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("remove image: %w", err)
	}
	return nil
}

func (p *imageProvisioner) owns(volume *v1.PersistentVolume) bool {
	return volume.Spec.Local != nil && filepath.Dir(volume.Spec.Local.Path) == p.folder
}

func mounted(target string) bool {
	table, err := os.ReadFile("/proc/self/mounts")
	return err == nil && strings.Contains(string(table), " "+target+" ")
}

func run(ctx context.Context, name string, arguments ...string) error {
	ctx, cancel := context.WithTimeout(ctx, mountTimeout)
	defer cancel()
	output, err := exec.CommandContext(ctx, name, arguments...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(arguments, " "), err, strings.TrimSpace(string(output)))
	}
	return nil
}

func main() {
	klog.InitFlags(nil)
	kubeconfig := flag.String("kubeconfig", "", "file that says how to reach the API server")
	host := flag.String("host", "", "name of the host this provisioner works for")
	folder := flag.String("folder", "", "folder on this host that keeps the images")
	flag.Parse()
	if *kubeconfig == "" || *host == "" || *folder == "" {
		klog.Exit("--kubeconfig, --host and --folder must be given")
	}
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		klog.Exitf("--kubeconfig %s: %v", *kubeconfig, err)
	}
	config.QPS, config.Burst = 100, 200
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	provisioner := &imageProvisioner{host: *host, folder: filepath.Clean(*folder)}
	// No leader election: every host has its own, and each ignores the others' claims.
	controller.NewProvisionController(
		ctx, kubernetes.NewForConfigOrDie(config), provisionerName, provisioner,
		controller.LeaderElection(false),
		controller.RetryIntervalMax(5*time.Second),
	).Run(ctx)
}
