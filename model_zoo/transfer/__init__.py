"""Any folder of pictures, learnt by a network that has seen others before."""
