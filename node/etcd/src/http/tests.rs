//! What HTTP clients of the client port read.

use http_body_util::BodyExt as _;

use super::*;

struct Fixed {
    broken: &'static [Check],
    alarms: &'static [&'static str],
    leader: bool,
}

const WELL: Fixed = Fixed {
    broken: &[],
    alarms: &[],
    leader: true,
};

#[tonic::async_trait]
impl HealthSource for Fixed {
    async fn check(&self, check: Check) -> Result<(), String> {
        if self.broken.contains(&check) {
            Err("it broke".to_owned())
        } else {
            Ok(())
        }
    }

    fn alarms(&self) -> Vec<&'static str> {
        self.alarms.to_vec()
    }

    fn knows_leader(&self) -> bool {
        self.leader
    }
}

async fn get(health: Fixed, url: &str) -> (u16, String) {
    let api = HttpApi::new(Arc::new(health), Registry::new()).unwrap();
    let answer = api.answer(&Request::get(url).body(()).unwrap()).await;
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn a_well_node_says_what_etcd_says() {
    let expected = [
        ("/health", r#"{"health":"true","reason":""}"#),
        (
            "/health?serializable=true",
            r#"{"health":"true","reason":""}"#,
        ),
        ("/livez", "ok\n"),
        ("/readyz", "ok\n"),
        ("/livez?verbose", "[+]serializable_read ok\nok\n"),
        (
            "/readyz?verbose&exclude=non_learner",
            "[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\nok\n",
        ),
        ("/readyz/non_learner", "ok\n"),
        (
            "/version",
            r#"{"etcdserver":"3.7.3","etcdcluster":"3.7.0","storage":"3.7.0"}"#,
        ),
    ];
    for (url, body) in expected {
        assert_eq!(get(WELL, url).await, (200, body.to_owned()), "{url}");
    }
}

#[tokio::test]
async fn a_node_without_primary_is_unhealthy_but_reads_by_itself() {
    let alone = || Fixed {
        leader: false,
        broken: &[Check::LinearizableRead],
        ..WELL
    };
    let (status, body) = get(alone(), "/health").await;
    assert_eq!(
        (status, body.as_str()),
        (
            503,
            "{\"health\":\"false\",\"reason\":\"RAFT NO LEADER\"}\n"
        )
    );
    assert_eq!(get(alone(), "/health?serializable=true").await.0, 200);
    assert_eq!(get(alone(), "/livez").await.0, 200);
    let (status, body) = get(alone(), "/readyz").await;
    assert_eq!(status, 503);
    assert!(
        body.contains("[-]linearizable_read failed: it broke\n"),
        "{body}"
    );
}

#[tokio::test]
async fn an_alarm_makes_it_unhealthy_unless_it_is_excluded() {
    let full = || Fixed {
        alarms: &["NOSPACE"],
        ..WELL
    };
    assert_eq!(
        get(full(), "/health").await,
        (
            503,
            "{\"health\":\"false\",\"reason\":\"ALARM NOSPACE\"}\n".to_owned()
        )
    );
    assert_eq!(get(full(), "/health?exclude=NOSPACE").await.0, 200);
}

#[tokio::test]
async fn what_is_not_served_is_not_found_and_nothing_is_posted() {
    for url in ["/", "/healthy", "/livez/unknown", "/version/x"] {
        assert_eq!(get(WELL, url).await.0, 404, "{url}");
    }
    let api = HttpApi::new(Arc::new(WELL), Registry::new()).unwrap();
    let answer = api
        .answer(&Request::post("/health").body(()).unwrap())
        .await;
    assert_eq!(answer.status(), 405);
}

#[tokio::test]
async fn metrics_are_those_of_the_registry() {
    let (status, body) = get(WELL, "/metrics").await;
    assert_eq!(status, 200);
    assert!(body.contains("etcd_server_health_success 0"), "{body}");
}
