//! The local Kubernetes is what the other stories take it for: every host runs a pod with a volume
//! of its size, and a host that loses its power comes back with its volumes.

use k8s_openapi::api::core::v1::Pod;
use standby_e2e::cluster::layout::HOSTS;
use standby_e2e::command::until;
use standby_e2e::error::{Result, ensure};
use standby_e2e::limits::NODE_READY_TIMEOUT;
use standby_e2e::product::is_ready;

use crate::Stage;

pub async fn run(stage: &Stage) -> Result<()> {
    let api = &stage.cluster.api;
    let host = stage.cluster.host(HOSTS[1]);
    // A local Kubernetes that was kept may hold more than this story's.
    let others = host.loop_devices().await?.len();
    for host in HOSTS {
        let node = stage.cluster.layout.node_name(host);
        api.apply_text(&pod(&stage.namespace, &node)).await?;
    }
    for host in HOSTS {
        ready(
            stage,
            &format!("on-{}", stage.cluster.layout.node_name(host)),
        )
        .await?;
    }

    let devices = host.loop_devices().await?;
    ensure(devices.len() == others + 1, || {
        format!("one volume, loop devices {devices:?}")
    })?;
    host.power_off().await?;
    ensure(host.init().is_none(), || "the host still runs".to_owned())?;
    let devices = host.loop_devices().await?;
    ensure(devices.is_empty(), || {
        format!("a dead host holds {devices:?}")
    })?;

    host.power_on().await?;
    until(
        "the host's container to run again",
        NODE_READY_TIMEOUT,
        async || {
            let pod: Pod = api
                .objects::<Pod>(&stage.namespace)
                .get(&format!("on-{}", host.node()))
                .await
                .map_err(|error| error.to_string())?;
            let statuses = pod
                .status
                .as_ref()
                .and_then(|status| status.container_statuses.clone());
            let restarts = statuses
                .iter()
                .flatten()
                .map(|one| one.restart_count)
                .sum::<i32>();
            if restarts > 0 && is_ready(&pod) {
                Ok(())
            } else {
                Err(format!("{restarts} restarts"))
            }
        },
    )
    .await?;
    let devices = host.loop_devices().await?;
    ensure(devices.len() == others + 1, || {
        format!("its volume did not come back: {devices:?}")
    })
}

async fn ready(stage: &Stage, name: &str) -> Result<()> {
    let place = (stage.namespace.as_str(), name);
    let what = format!("pod {name} to be Ready");
    stage
        .cluster
        .api
        .wait_for::<Pod, ()>(&what, place, NODE_READY_TIMEOUT, |pod| {
            let phase = pod.status.as_ref().and_then(|status| status.phase.clone());
            if is_ready(pod) {
                Ok(())
            } else {
                Err(phase.unwrap_or_default())
            }
        })
        .await
}

fn pod(namespace: &str, node: &str) -> String {
    format!(
        r"apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: on-{node}, namespace: {namespace}}}
spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 64Mi}}}}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: on-{node}, namespace: {namespace}}}
spec:
  nodeSelector: {{kubernetes.io/hostname: {node}}}
  terminationGracePeriodSeconds: 1
  securityContext:
    runAsNonRoot: true
    fsGroup: 65532
    seccompProfile: {{type: RuntimeDefault}}
  containers:
  - name: main
    image: local/pause:1
    imagePullPolicy: Never
    volumeMounts: [{{name: data, mountPath: /data}}]
  volumes: [{{name: data, persistentVolumeClaim: {{claimName: on-{node}}}}}]
"
    )
}
