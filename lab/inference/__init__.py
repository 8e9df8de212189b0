"""What a finished run is used for: predicting masks, and handing the network on."""
