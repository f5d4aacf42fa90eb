use super::*;

#[tokio::test]
async fn a_lease_lives_by_keep_alives_and_takes_its_keys_along() {
    let bed = Bed::new();
    assert_eq!(
        bed.grant(7, 1).await.unwrap(),
        2,
        "too short a time is raised"
    );
    bed.put(PutRequest {
        lease: 7,
        ..put("a", "1")
    })
    .await
    .unwrap();
    bed.node.tick_leases().await;
    bed.pass(1);
    assert_eq!(bed.keep_alive(7).await, 2);
    bed.pass(1);
    bed.node.tick_leases().await;
    assert_eq!(bed.node.view().leases().len(), 1);
    bed.pass(1);
    bed.node.tick_leases().await;
    assert_eq!(bed.node.view().leases(), []);
    assert_eq!(bed.node.view().current_revision(), 3);
    assert_eq!(
        bed.keep_alive(7).await,
        0,
        "a lease that is gone has no time, and that is no error"
    );
}

#[tokio::test]
async fn a_keep_alive_of_a_lease_that_ran_out_waits_until_it_is_gone() {
    let bed = Bed::new();
    bed.grant(7, 2).await.unwrap();
    bed.node.tick_leases().await;
    bed.pass(60);
    let (ttl, ()) = tokio::join!(bed.keep_alive(7), bed.node.tick_leases());
    assert_eq!(ttl, 0);
}

#[tokio::test]
async fn a_keep_alive_without_proof_of_primacy_is_not_answered() {
    let bed = Bed::new();
    bed.grant(7, 10).await.unwrap();
    bed.refuse(Refusal::RoleLost);
    let answer = bed.node.keep_alive(&LeaseKeepAliveRequest { id: 7 }).await;
    assert_eq!(
        answer.unwrap_err().to_string(),
        "etcdserver: leader changed"
    );
}

#[tokio::test]
async fn a_lease_that_was_renewed_in_a_later_epoch_outlives_an_expiry_of_the_one_before() {
    let bed = Bed::new();
    bed.grant(7, 10).await.unwrap();
    bed.node.tick_leases().await;
    bed.pass(60);
    // Its end is on its way while writes wait, for want of a standby.
    let none = u32::try_from(WAYS).unwrap();
    let ways = bed.local.ways.acquire_many(none).await.unwrap();
    let ending = bed.node.tick_leases();
    tokio::pin!(ending);
    assert!(futures::poll!(&mut ending).is_pending());
    // The same primary goes on in another epoch, and every lease has its full time again.
    bed.local.role.send_modify(|info| info.epoch = Epoch(6));
    assert_eq!(bed.keep_alive(7).await, 10);
    drop(ways);
    ending.await;
    assert_eq!(bed.node.view().leases().len(), 1, "its client was told so");
    bed.pass(11);
    bed.node.tick_leases().await;
    assert_eq!(bed.node.view().leases(), []);
}

#[tokio::test]
async fn the_time_to_live_is_told_with_the_keys() {
    let bed = Bed::new();
    bed.grant(7, 10).await.unwrap();
    for key in ["b", "a"] {
        bed.put(PutRequest {
            lease: 7,
            ..put(key, "1")
        })
        .await
        .unwrap();
    }
    bed.node.tick_leases().await;
    bed.pass(LEASE_PROMOTION_GRACE_MS / 1_000 + 3);
    let ask = |id| Request::new(LeaseTimeToLiveRequest { id, keys: true });
    let answer = bed
        .lease()
        .lease_time_to_live(ask(7))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((answer.ttl, answer.granted_ttl), (7, 10));
    assert_eq!(answer.keys, [bytes("a"), bytes("b")]);
    let answer = bed
        .lease()
        .lease_time_to_live(ask(8))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((answer.id, answer.ttl, answer.granted_ttl), (8, -1, 0));
    let listed = bed
        .lease()
        .lease_leases(Request::new(LeaseLeasesRequest {}))
        .await
        .unwrap();
    assert_eq!(listed.into_inner().leases[0].id, 7);
}

#[tokio::test]
async fn an_id_is_chosen_for_a_lease_without_one() {
    let bed = Bed::new();
    let request = LeaseGrantRequest { id: 0, ttl: 10 };
    let answer = bed
        .lease()
        .lease_grant(Request::new(request))
        .await
        .unwrap()
        .into_inner();
    assert!(answer.id > 0);
    let too_long = bed.grant(0, 9_000_000_001).await;
    assert_eq!(
        refused(too_long),
        (
            Code::OutOfRange,
            "etcdserver: too large lease TTL".to_owned()
        )
    );
}
