"""The tools that tests are made with: images, pushers, the upstream, the registry in and out of this process."""
