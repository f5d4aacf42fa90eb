//! Compiles etcd's wire format, the log's commands and the store's records; needs no `protoc`.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = protox::compile(
        [
            "proto/rpc.proto",
            "proto/command.proto",
            "proto/state.proto",
        ],
        ["proto"],
    )?;
    // Byte fields are slices of the buffer they came in: a value is not copied on its way.
    tonic_prost_build::configure()
        .bytes(".")
        .codec_path("standby_codec::SmallBuffers")
        .compile_fds(files)?;
    println!("cargo:rerun-if-changed=proto");
    Ok(())
}
