//! From kubeconfig, context and flags to a client.

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::Shell;
use crate::cli::Global;
use crate::error::{Error, Result};
use crate::limits;

/// Connects as the flags say.
pub async fn connect(global: &Global) -> Result<Shell> {
    let options = KubeConfigOptions {
        context: global.context.clone(),
        ..KubeConfigOptions::default()
    };
    let mut config = match &global.kubeconfig {
        Some(path) => {
            Config::from_custom_kubeconfig(Kubeconfig::read_from(path)?, &options).await?
        }
        None => match Config::from_kubeconfig(&options).await {
            Ok(config) => config,
            // Inside a pod there is no kubeconfig; the first error says more than the second.
            Err(error) if global.context.is_none() => Config::incluster().map_err(|_| error)?,
            Err(error) => return Err(error.into()),
        },
    };
    if let Some(user) = &global.impersonate {
        config.auth_info.impersonate = Some(user.clone());
    }
    config.connect_timeout = Some(limits::ms(limits::API_CALL_MS));
    let namespace = global
        .namespace
        .clone()
        .unwrap_or_else(|| config.default_namespace.clone());
    let client = Client::try_from(config).map_err(|error| Error::Connect(Box::new(error)))?;
    Ok(Shell { client, namespace })
}
