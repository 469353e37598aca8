"""Who is who: keys, certificates, the broker's users, signed commands and tickets."""
