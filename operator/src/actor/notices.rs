//! What people are told: Events and log lines, each once.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType};
use standby_api::names;
use standby_operator_core::plan::{Notice, Plan};
use standby_operator_core::words::meaning;
use tracing::{Instrument, Span, error, info, warn};

use super::Actor;
use crate::limits::{EVENT_NOTE_BYTES_MAX, NOTICES_REMEMBERED_MAX};

impl Actor {
    pub(super) fn complain(&mut self) {
        if let Some(complaint) = self.complaint.clone() {
            self.tell(&Notice {
                reason: "Invalid",
                warning: true,
                message: complaint,
            });
        }
    }

    pub(super) fn tell_all(&mut self, plan: &Plan) {
        self.complain();
        for notice in &plan.notices {
            self.tell(notice);
        }
    }

    /// Sends a notice as an Event, once per epoch and meaning.
    fn tell(&mut self, notice: &Notice) {
        let mark = format!(
            "{} {} {}",
            self.epoch(),
            notice.reason,
            meaning(&notice.message)
        );
        if self.told.len() >= NOTICES_REMEMBERED_MAX {
            self.told.clear();
        }
        if !self.told.insert(mark) {
            return;
        }
        if notice.warning {
            warn!(reason = notice.reason, "{}", notice.message);
        } else {
            info!(reason = notice.reason, "{}", notice.message);
        }
        let Ok(permit) = self.context.events.clone().try_acquire_owned() else {
            error!(
                reason = notice.reason,
                "too many Events wait to be sent: this one is only logged"
            );
            return;
        };
        let mut note = notice.message.clone();
        while note.len() > EVENT_NOTE_BYTES_MAX {
            note.pop();
        }
        let event = Event {
            type_: if notice.warning {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason: notice.reason.to_owned(),
            note: Some(note),
            action: notice.reason.to_owned(),
            secondary: None,
        };
        let reference = ObjectReference {
            api_version: Some(format!("{}/{}", names::GROUP, names::VERSION)),
            kind: Some("StandbyCluster".into()),
            name: Some(self.key.name.clone()),
            namespace: Some(self.key.namespace.clone()),
            uid: Some(self.uid.clone()),
            ..ObjectReference::default()
        };
        let recorder = self.context.recorder.clone();
        let send = async move {
            let sent = recorder.publish(&event, &reference);
            if let Err(error) = crate::api::within(crate::api::USUAL, "send an Event", sent).await {
                warn!(%error, "an Event was not sent");
            }
            drop(permit);
        };
        tokio::spawn(send.instrument(Span::current()));
    }
}
