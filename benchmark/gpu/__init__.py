"""What a GPU says of itself while it works: memory, power, clocks. NVML on cards, tegrastats and devfreq on Jetsons."""
