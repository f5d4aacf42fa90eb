pub async fn run(_stage: &crate::Stage) -> standby_e2e::error::Result<()> {
    Ok(())
}
