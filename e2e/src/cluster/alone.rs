//! A control plane without hosts: etcd and the API server, for measurements whose hosts and pods are
//! simulated. It has no controllers and no scheduler, so nothing happens that the measurement does not do.

use std::path::PathBuf;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, PostParams};
use serde_json::json;

use super::control_plane::Program;
use super::layout::Layout;
use super::{api_ready, network, pki, remove};
use crate::error::{Error, Result};
use crate::kubernetes::Kubernetes;
use crate::parts::{self, Programs};
use crate::progress::Progress;

/// What is needed of [`parts::PARTS`].
const FOLDERS: [&str; 3] = ["etcd", "kube", "helm"];
/// How long the token of a service account is good, in seconds.
const TOKEN_SECONDS: i64 = 24 * 60 * 60;
/// Who did what is logged once, when it is answered: no objects, and no watch but its begin.
const AUDIT_POLICY: &str = "apiVersion: audit.k8s.io/v1\nkind: Policy\n\
    omitStages: [RequestReceived]\nomitManagedFields: true\nrules:\n- level: Metadata\n";

/// A control plane that is up.
pub struct ControlPlane {
    /// Its names, addresses and folders.
    pub layout: Layout,
    /// Where its programs are.
    pub programs: Programs,
    /// Its API server.
    pub api: Kubernetes,
}

impl ControlPlane {
    /// Brings the control plane of cluster `number` up from nothing; removes first what an earlier run of
    /// that number left.
    pub async fn up(number: u8, progress: &Progress) -> Result<Self> {
        let programs = parts::build_some(&FOLDERS, progress)?;
        let layout = Layout::new(number);
        let step = progress.step("starting etcd and an API server");
        remove(layout).await?;
        let control = layout.control();
        std::fs::create_dir_all(&control).map_err(Error::file("make", &control))?;
        pki::make(layout)?;
        network::make_alone(layout).await?;
        let policy = control.join("audit-policy.yaml");
        std::fs::write(&policy, AUDIT_POLICY).map_err(Error::file("write", &policy))?;
        Program::Etcd.start(layout, &programs)?;
        let audit = [
            format!("--audit-policy-file={}", policy.display()),
            format!("--audit-log-path={}", audit_log(layout).display()),
        ];
        Program::ApiServer.start_with(layout, &programs, &audit)?;
        let api = api_ready(layout, &programs).await?;
        step.done();
        Ok(Self {
            layout,
            programs,
            api,
        })
    }

    /// Removes it.
    pub async fn down(self) -> Result<()> {
        remove(self.layout).await
    }

    /// Where the API server writes who asked for what.
    pub fn audit_log(&self) -> PathBuf {
        audit_log(self.layout)
    }

    /// Makes a service account: without controllers nobody else does, and pods need one.
    pub async fn account(&self, namespace: &str, name: &str) -> Result<()> {
        let account = serde_json::from_value(json!({"metadata": {"name": name}}))?;
        let accounts: Api<ServiceAccount> = self.api.objects(namespace);
        accounts
            .create(&PostParams::default(), &account)
            .await
            .map(drop)
            .map_err(Error::from)
    }

    /// Writes a kubeconfig with which a process outside is that service account.
    pub async fn kubeconfig_of(&self, namespace: &str, account: &str) -> Result<PathBuf> {
        let accounts: Api<ServiceAccount> = self.api.objects(namespace);
        let request = TokenRequest {
            spec: TokenRequestSpec {
                expiration_seconds: Some(TOKEN_SECONDS),
                ..TokenRequestSpec::default()
            },
            ..TokenRequest::default()
        };
        let made = accounts
            .create_token_request(account, &PostParams::default(), &request)
            .await?;
        let token = made.status.map(|status| status.token).unwrap_or_default();
        let document = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "alone",
            "clusters": [{"name": "alone", "cluster": {
                "server": self.layout.api_url(),
                "certificate-authority": self.layout.pki().join("ca-kube.crt"),
            }}],
            "users": [{"name": account, "user": {"token": token}}],
            "contexts": [{"name": "alone", "context": {"cluster": "alone", "user": account}}],
        });
        let file = self.layout.pki().join(format!("{account}.kubeconfig"));
        std::fs::write(&file, serde_yaml::to_string(&document)?)
            .map_err(Error::file("write", &file))?;
        Ok(file)
    }
}

fn audit_log(layout: Layout) -> PathBuf {
    layout.control().join("audit.log")
}
