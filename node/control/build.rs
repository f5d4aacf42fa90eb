//! Compiles the control protocol; needs no `protoc`.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = protox::compile(["proto/control.proto"], ["proto"])?;
    tonic_prost_build::configure()
        .codec_path("standby_codec::SmallBuffers")
        .compile_fds(files)?;
    println!("cargo:rerun-if-changed=proto");
    Ok(())
}
